import Glibc
import TemperCore
import TemperGraph
import Testing

@testable import TemperNetworks

/// Attention and recurrent layers against plain loops, and embeddings with their masks.
@Suite struct SequenceTests {
  /// One sample (T, D) through attention; `sees(i, j)`: whether step i may look at step j.
  private func attention(
    _ x: [Double], _ steps: Int, _ width: Int, _ heads: Int, _ model: Model, _ path: String, sees: (Int, Int) -> Bool
  ) throws -> [Double] {
    let (w, b) = (try value(model, path + ".in_proj_weight"), try value(model, path + ".in_proj_bias"))
    let (wo, bo) = (try value(model, path + ".out_proj.weight"), try value(model, path + ".out_proj.bias"))
    func project(_ t: Int, _ row: Int) -> Double {
      (0..<width).reduce(b[row]) { $0 + x[t * width + $1] * w[row * width + $1] }
    }
    let d = width / heads
    var mixed = [Double](repeating: 0, count: steps * width)
    for h in 0..<heads {
      for i in 0..<steps {
        let seen = (0..<steps).filter { sees(i, $0) }
        let scores = seen.map { j in
          (0..<d).reduce(0.0) { $0 + project(i, h * d + $1) * project(j, width + h * d + $1) } / Double(d).squareRoot()
        }
        let sum = scores.reduce(0) { $0 + Glibc.exp($1) }
        for (j, score) in zip(seen, scores) {
          for k in 0..<d { mixed[i * width + h * d + k] += Glibc.exp(score) / sum * project(j, 2 * width + h * d + k) }
        }
      }
    }
    return (0..<(steps * width)).map { at in
      let (t, row) = (at / width, at % width)
      return (0..<width).reduce(bo[row]) { $0 + mixed[t * width + $1] * wo[row * width + $1] }
    }
  }

  @Test(arguments: [false, true]) func attentionIsItsFormula(causal: Bool) throws {
    let (model, x, y, _) = try output(
      #"[{"multi_head_attention": {"heads": 3, "causal": \#(causal)}}]"#, input: [4, 6], batch: 2)
    let expected: [Double] = try (0..<2).flatMap { n -> [Double] in
      try attention(Array(x[(n * 24)..<(n * 24 + 24)]), 4, 6, 3, model, "0") { i, j in !causal || j <= i }
    }
    expectClose(y, expected)
  }

  @Test func anotherNormaliserTakesTheSoftmaxsPlace() throws {
    let (_, _, plain, _) = try output(#"[{"multi_head_attention": 2}]"#, input: [4, 6])
    let (_, _, same, _) = try output(
      #"[{"multi_head_attention": {"heads": 2, "normaliser": "tempered_softmax"}}]"#, input: [4, 6])
    let (_, _, sharp, _) = try output(
      #"[{"multi_head_attention": {"heads": 2, "normaliser": {"tempered_softmax": 0.01}}}]"#, input: [4, 6])
    expectClose(plain, same)
    #expect(zip(plain, sharp).contains { abs($0 - $1) > 1e-3 })
    let found = message { () throws(TemperError) in
      _ = try makeModel(#"[{"multi_head_attention": {"heads": 2, "normaliser": "relu"}}]"#, input: [4, 6])
    }
    #expect(found?.contains("layer 0 (multi_head_attention), normaliser relu") == true)
  }

  @Test func aGivenMaskHidesKeys() throws {
    let model = try makeModel(#"[{"multi_head_attention": {"heads": 2, "key_mask": true}}]"#, input: [3, 4])
    #expect(model.needsMask)
    try fill(model)
    let x = numbers(36, "x")
    // The last sample sees nothing: its rows are the output's bias.
    let mask: [Double] = [1, 1, 0, 1, 0, 1, 0, 0, 0]
    let y = try model.predict(
      try Tensor(x, shape: [3, 3, 4]), mask: try Tensor(mask, shape: [3, 3]), workers: workers
    ).array(of: Double.self)
    let expected: [Double] = try (0..<3).flatMap { n -> [Double] in
      try attention(Array(x[(n * 12)..<(n * 12 + 12)]), 3, 4, 2, model, "0") { _, j in mask[n * 3 + j] != 0 }
    }
    expectClose(y, expected)
    #expect(throws: TemperError.self) { try model.predict(try Tensor(x, shape: [3, 3, 4]), workers: workers) }
    #expect(throws: TemperError.self) {
      try model.predict(
        try Tensor(x, shape: [3, 3, 4]), mask: try Tensor(mask, shape: [9]), workers: workers)
    }
  }

  @Test func paddingIsZeroAndHidden() throws {
    let model = try makeModel(
      #"[{"embedding": {"entries": 5, "size": 4, "padding_index": 0}}, {"multi_head_attention": {"heads": 2, "key_mask": true}}]"#,
      input: [3])
    #expect(!model.needsMask && model.indexLimit == 5 && model.input.kind == .index)
    try fill(model)
    let ids: [Int32] = [4, 0, 2, 1, 3, 0]
    let table = try value(model, "0.weight")
    let y = try model.predict(try Tensor(ids, shape: [2, 3]), workers: workers).array(of: Double.self)
    var expected: [Double] = []
    for n in 0..<2 {
      var rows: [Double] = []
      for t in 0..<3 {
        let id = Int(ids[n * 3 + t])
        rows += id == 0 ? [0, 0, 0, 0] : Array(table[(id * 4)..<(id * 4 + 4)])
      }
      expected += try attention(rows, 3, 4, 2, model, "1") { _, j in ids[n * 3 + j] != 0 }
    }
    expectClose(y, expected)
    // int64 gives the same.
    let wide = try Tensor(ids.map { Int64($0) }, shape: [2, 3])
    #expect(try model.predict(wide, workers: workers).array(of: Double.self) == y)
  }

  @Test func badIndicesAreErrors() throws {
    let model = try makeModel(#"[{"embedding": {"entries": 5, "size": 2}}, "flatten"]"#, input: [2])
    for ids: [Int64] in [[0, 5], [-1, 0], [.max, 0], [.min, 1]] {
      #expect(throws: TemperError.self) { try model.predict(try Tensor(ids, shape: [1, 2]), workers: workers) }
    }
    #expect(throws: TemperError.self) { try model.predict(try Tensor(zeros: [1, 2], .float32), workers: workers) }
    let column = try Tensor([0, 9, 1, 9] as [Int64], shape: [2, 2]).slice(1..<2, axis: 1).broadcast(to: [2, 2])
    #expect(message { () throws(TemperError) in try model.checkInput(column) }?.contains("9 came") == true)
    for text in [
      #"["relu", {"embedding": {"entries": 5, "size": 2}}]"#,
      #"[{"embedding": {"entries": 5, "size": 2, "padding_index": 5}}]"#,
    ] {
      #expect(throws: TemperError.self) { try makeModel(text, input: [2]) }
    }
  }

  /// W x + b, row by row.
  private func affine(_ w: [Double], _ b: [Double], _ x: [Double]) -> [Double] {
    b.indices.map { row in
      var sum = b[row]
      for k in x.indices { sum += x[k] * w[row * x.count + k] }
      return sum
    }
  }

  /// The gates of one step: W_i x + b_i and W_h h + b_h.
  private func gates(
    _ model: Model, _ x: ArraySlice<Double>, _ h: [Double]
  ) throws -> (input: [Double], hidden: [Double]) {
    (
      affine(try value(model, "0.weight_ih"), try value(model, "0.bias_ih"), Array(x)),
      affine(try value(model, "0.weight_hh"), try value(model, "0.bias_hh"), h)
    )
  }

  private func logistic(_ x: Double) -> Double { 1 / (1 + Glibc.exp(-x)) }

  @Test func gruIsItsFormula() throws {
    let (model, x, y, _) = try output(#"[{"gru": {"size": 3, "output": "sequence"}}]"#, input: [5, 2], batch: 2)
    var expected: [Double] = []
    for n in 0..<2 {
      var h = [0.0, 0, 0]
      for t in 0..<5 {
        let at = (n * 5 + t) * 2
        let (i, s) = try gates(model, x[at..<(at + 2)], h)
        for k in 0..<3 {
          let (r, z) = (logistic(i[k] + s[k]), logistic(i[3 + k] + s[3 + k]))
          let candidate = Glibc.tanh(i[6 + k] + r * s[6 + k])
          h[k] = (1 - z) * candidate + z * h[k]
        }
        expected += h
      }
    }
    expectClose(y, expected)
    let (_, _, last, _) = try output(#"[{"gru": 3}]"#, input: [5, 2], batch: 2)
    expectClose(last, Array(expected[12..<15] + expected[27..<30]))
  }

  @Test func lstmIsItsFormula() throws {
    let (model, x, y, _) = try output(#"[{"lstm": {"size": 3, "output": "sequence"}}]"#, input: [5, 2], batch: 2)
    var expected: [Double] = []
    for n in 0..<2 {
      var (h, c) = ([0.0, 0, 0], [0.0, 0, 0])
      for t in 0..<5 {
        let at = (n * 5 + t) * 2
        let (i, s) = try gates(model, x[at..<(at + 2)], h)
        for k in 0..<3 {
          let (input, forget) = (logistic(i[k] + s[k]), logistic(i[3 + k] + s[3 + k]))
          c[k] = forget * c[k] + input * Glibc.tanh(i[6 + k] + s[6 + k])
          h[k] = logistic(i[9 + k] + s[9 + k]) * Glibc.tanh(c[k])
        }
        expected += h
      }
    }
    expectClose(y, expected)
    let (_, _, last, _) = try output(#"[{"lstm": 3}]"#, input: [5, 2], batch: 2)
    expectClose(last, Array(expected[12..<15] + expected[27..<30]))
  }
}
