import Glibc
import TemperCore
import TemperGraph
import Testing

@testable import TemperNetworks

/// What layers draw at random, and the properties that their papers state.
@Suite struct NoiseTests {
  /// A model's output in training mode at several steps of the clock.
  private func training(
    _ text: String, input: Shape, batch: Int, x: [Double], steps: Range<Int32> = 0..<1, isMirrored: Bool = false,
    mask: [Double]? = nil
  ) throws -> (outputs: [[Double]], pass: Pass) {
    let model = try makeModel(text, input: input)
    let pass = model.pass(
      .training, clock: .input("clock", [4], .index), mask: mask == nil ? nil : .input("mask", [batch, input[0]]),
      isMirrored: isMirrored)
    let y = model.forward(.input("x", Shape([batch] + input.sizes)), pass)
    var outputs = [Output(y)]
    if let share = pass.mixing { outputs.append(Output(share)) }
    let execution = try Execution(try Plan(outputs, type: .float64), workers: workers)
    try model.bind(to: execution)
    func bind(_ name: String, _ tensor: Tensor) throws {
      if execution.plan.inputs.contains(where: { $0.name == name }) { try execution.bind(name, to: tensor) }
    }
    try bind("x", try Tensor(x, shape: Shape([batch] + input.sizes)))
    if let mask { try bind("mask", try Tensor(mask, shape: [batch, input[0]])) }
    var results: [[Double]] = []
    for step in steps {
      try bind("clock", try Tensor([11, 22, step, 0] as [Int32]))
      try execution.run()
      for index in outputs.indices { results.append(try execution.output(index).array(of: Double.self)) }
    }
    return (results, pass)
  }

  private func ones(_ count: Int) -> [Double] { [Double](repeating: 1, count: count) }

  @Test func dropPathDropsWholeSamples() throws {
    let y = try training(#"[{"drop_path": 0.25}]"#, input: [3], batch: 4000, x: ones(12_000)).outputs[0]
    let rows = stride(from: 0, to: y.count, by: 3).map { Array(y[$0..<($0 + 3)]) }
    #expect(rows.allSatisfy { row in row == [0, 0, 0] || row.allSatisfy { abs($0 - 4.0 / 3) < 1e-12 } })
    let dropped = Double(rows.count { $0[0] == 0 }) / 4000
    #expect(abs(dropped - 0.25) < 4 * (0.25 * 0.75 / 4000).squareRoot())
    let whole = try training(
      #"[{"drop_path": {"p": 0.5, "mode": "batch"}}]"#, input: [2], batch: 5, x: ones(10), steps: 0..<20)
    #expect(whole.outputs.allSatisfy { Set($0).count == 1 })
    #expect(Set(whole.outputs.map { $0[0] }) == [0, 2])
  }

  /// Zeros come as squares of the block's size, and the mean is kept.
  @Test func dropBlockDropsSquares() throws {
    let (height, width, batch) = (9, 8, 60)
    let y = try training(
      #"[{"drop_block": {"p": 0.15, "block_size": 3}}]"#, input: [2, height, width], batch: batch,
      x: ones(batch * 2 * height * width)
    ).outputs[0]
    #expect(abs(y.reduce(0, +) / Double(y.count) - 1) < 1e-12)
    var isCovered = [Bool](repeating: false, count: y.count)
    for plane in 0..<(2 * batch) {
      for row in 0...(height - 3) {
        for column in 0...(width - 3) {
          let places = (0..<9).map { (plane * height + row + $0 / 3) * width + column + $0 % 3 }
          if places.allSatisfy({ y[$0] == 0 }) { for place in places { isCovered[place] = true } }
        }
      }
    }
    #expect(zip(y, isCovered).allSatisfy { ($0 == 0) == $1 })
    let share = Double(y.count { $0 == 0 }) / Double(y.count)
    #expect(share > 0.08 && share < 0.15)
  }

  /// The mask is a prefix whose length has P(k) proportional to exp(-(k / s)^2): chi-square over 100,000 draws.
  @Test func nestedDropoutKeepsAPrefixOfTheRightLength() throws {
    let (features, draws, s) = (64, 20_000, 10.0)
    let y = try training(
      #"[{"nested_dropout": {"s": 10, "per": "sample"}}]"#, input: [features], batch: draws,
      x: ones(features * draws), steps: 0..<5
    ).outputs
    var counts = [Double](repeating: 0, count: features + 1)
    for step in y {
      for row in 0..<draws {
        let kept = step[(row * features)..<((row + 1) * features)]
        let length = Int(kept.reduce(0, +))
        if kept.prefix(length).contains(0) { Issue.record("not a prefix") }
        counts[length] += 1
      }
    }
    let weights = (1...features).map { exp(-(Double($0) / s) * (Double($0) / s)) }
    let total = weights.reduce(0, +)
    let n = 5 * Double(draws)
    let mean = (1...features).reduce(0) { $0 + Double($1) * counts[$1] } / n
    #expect(abs(mean - 5.97) < 0.05)
    let tail = (1...25).reduce(0) { sum, k in
      let expected = n * weights[k - 1] / total
      return sum + (counts[k] - expected) * (counts[k] - expected) / expected
    }
    // 24 degrees of freedom: above 60 with probability 6e-5.
    #expect(counts[0] == 0 && tail < 60)
  }

  @Test func nestedDropoutAtInferenceKeepsTheFirst() throws {
    let (_, x, y, _) = try output(#"[{"nested_dropout": {"keep": 3}}]"#, input: [5])
    #expect(y == x.indices.map { $0 % 5 < 3 ? x[$0] : 0 })
    let (_, s, z, _) = try output(#"["nested_dropout"]"#, input: [5])
    #expect(z == s)
  }

  /// The norm is alpha for every draw, the two of a pair have x as their mean, and padding has no noise.
  @Test func symmetricNoiseHasAFixedNorm() throws {
    let x = numbers(3 * 4 * 6, "x")
    let plus = try training(#"[{"symnoise": 5}]"#, input: [4, 6], batch: 3, x: x).outputs[0]
    let minus = try training(#"[{"symnoise": 5}]"#, input: [4, 6], batch: 3, x: x, isMirrored: true).outputs[0]
    expectClose(zip(plus, minus).map { ($0 + $1) / 2 }, x, 1e-14)
    for row in 0..<3 {
      let noise = (0..<24).map { plus[row * 24 + $0] - x[row * 24 + $0] }
      expectClose([noise.reduce(0) { $0 + $1 * $1 }.squareRoot()], [5], 1e-12)
    }
    #expect(try makeModel(#"[{"symnoise": 5}]"#, input: [4, 6]).isMirrored)
    #expect(try !makeModel(#"[{"symnoise": {"symmetric": false}}]"#, input: [4, 6]).isMirrored)
    let mask: [Double] = [1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    let padded = try training(#"[{"symnoise": 5}]"#, input: [4, 6], batch: 3, x: x, mask: mask).outputs[0]
    for row in 0..<3 {
      var squares = 0.0
      for i in 0..<24 {
        let noise = padded[row * 24 + i] - x[row * 24 + i]
        if mask[row * 4 + i / 6] == 0 { #expect(noise == 0) }
        squares += noise * noise
      }
      expectClose([squares.squareRoot()], [5], 1e-12)
    }
    let (_, same, y, _) = try output(#"[{"symnoise": 5}]"#, input: [4, 6])
    #expect(y == same)
  }

  /// Every call draws anew, with the deviation asked for; nu = 0 is the identity.
  @Test func randomizedFeaturesChangeAtEveryCall() throws {
    let model = try makeModel(#"[{"randomized_feature_defense": 0.5}]"#, input: [50])
    let x = try Tensor(zeros: [200, 50], .float64)
    let first = try model.predict(x, workers: workers).array(of: Double.self)
    let second = try model.predict(x, workers: workers).array(of: Double.self)
    #expect(zip(first, second).allSatisfy { $0 != $1 })
    let deviation = (first.reduce(0) { $0 + $1 * $1 } / Double(first.count)).squareRoot()
    #expect(abs(deviation - 0.5) < 0.02)
    let again = try makeModel(#"[{"randomized_feature_defense": 0.5}]"#, input: [50])
    #expect(try again.predict(x, workers: workers).array(of: Double.self) == first)
    let quiet = try makeModel(#"[{"randomized_feature_defense": 0}]"#, input: [50])
    #expect(try quiet.predict(x, workers: workers).array(of: Double.self).allSatisfy { $0 == 0 })
  }

  /// Mean 1/2 and variance 1 / (4 (2 alpha + 1)), that of Beta(alpha, alpha); mixed samples lie between the two.
  @Test(arguments: [0.2, 1, 3]) func mixupSharesAreBeta(alpha: Double) throws {
    let batch = 20_000
    let x = (0..<batch).map(Double.init)
    let results = try training(
      #"[{"mixup": {"alpha": \#(alpha), "per": "sample"}}]"#, input: [1], batch: batch, x: x
    ).outputs
    let (y, share) = (results[0], results[1])
    let mean = share.reduce(0, +) / Double(batch)
    let variance = share.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(batch)
    let expected = 1 / (4 * (2 * alpha + 1))
    #expect(abs(mean - 0.5) < 4 * (expected / Double(batch)).squareRoot())
    #expect(abs(variance / expected - 1) < 0.05)
    expectClose(y, (0..<batch).map { share[$0] * x[$0] + (1 - share[$0]) * x[($0 + 1) % batch] }, 1e-9)
  }

  /// Every pixel is the image's own or the next one's, in a rectangle, and the share counts them.
  @Test func cutmixPastesARectangle() throws {
    let (batch, height, width) = (400, 6, 5)
    let x = (0..<batch).flatMap { sample in [Double](repeating: Double(sample), count: height * width) }
    let results = try training(
      #"[{"cutmix": {"alpha": 1, "per": "sample"}}]"#, input: [1, height, width], batch: batch, x: x
    ).outputs
    let (y, share) = (results[0], results[1])
    for sample in 0..<batch {
      let image = y[(sample * height * width)..<((sample + 1) * height * width)]
      #expect(image.allSatisfy { $0 == Double(sample) || $0 == Double((sample + 1) % batch) })
      let pasted = image.indices.filter { y[$0] != Double(sample) }.map { $0 % (height * width) }
      expectClose([share[sample]], [1 - Double(pasted.count) / Double(height * width)], 1e-12)
      let (rows, columns) = (Set(pasted.map { $0 / width }), Set(pasted.map { $0 % width }))
      #expect(pasted.count == rows.count * columns.count)
    }
    #expect(share.contains { $0 < 0.6 } && share.contains { $0 > 0.9 })
  }

  /// One of the places is drawn for a batch: both happen, and nothing is mixed elsewhere.
  @Test func manifoldMixupChoosesAPlace() throws {
    let x = [0.0, 1, 4]
    let run = try training(
      #"[{"manifold_mixup": {"layers": [{"leaky_relu": 1}, "tanh", {"leaky_relu": 1}], "at": [0, 2]}}]"#, input: [1],
      batch: 3, x: x, steps: 0..<40)
    var places = [0, 0]
    for step in 0..<40 {
      let (y, share) = (run.outputs[2 * step], run.outputs[2 * step + 1][0])
      let before = (0..<3).map { tanh(share * x[$0] + (1 - share) * x[($0 + 1) % 3]) }
      let after = (0..<3).map { share * tanh(x[$0]) + (1 - share) * tanh(x[($0 + 1) % 3]) }
      if zip(y, before).allSatisfy({ abs($0 - $1) < 1e-12 }) { places[0] += 1 }
      if zip(y, after).allSatisfy({ abs($0 - $1) < 1e-12 }) { places[1] += 1 }
    }
    #expect(places[0] > 5 && places[1] > 5 && places[0] + places[1] == 40)
  }

  @Test func aBatchIsMixedOnce() {
    let text = message { () throws(TemperError) in
      let model = try makeModel(#"["mixup", {"mixup": 0.2}]"#, input: [2])
      let y = model.forward(.input("x", [3, 2]), model.pass(.training, clock: .input("clock", [4], .index)))
      if let error = y.error { throw error }
    }
    #expect(text?.contains("mixed twice") == true)
  }

  /// The mean of many draws is the weight; an element is w' = (w - p u) / (1 - p) or u.
  @Test func mixoutKeepsTheMean() throws {
    let model = try makeModel(
      #"[{"mixout": {"layers": [{"dense": {"size": 30, "bias": false}}], "p": 0.3}}]"#, input: [40])
    try fill(model)
    let (w, u) = (try value(model, "0.0.weight"), try value(model, "0.0.weight_pretrained"))
    let identity = (0..<1600).map { $0 / 40 == $0 % 40 ? 1.0 : 0 }
    let pass = model.pass(.training, clock: .input("clock", [4], .index))
    let y = model.forward(.input("x", [40, 40]), pass)
    let execution = try Execution(try Plan([Output(y)], type: .float64), workers: workers)
    try model.bind(to: execution)
    try execution.bind("x", to: try Tensor(identity, shape: [40, 40]))
    try execution.bind("clock", to: try Tensor([1, 2, 3, 4] as [Int32]))
    try execution.run()
    let effective = try execution.output(0).array(of: Double.self)  // (in, out)
    var swapped = 0
    for (i, j) in (0..<1200).map({ ($0 / 30, $0 % 30) }) {
      let (own, other, seen) = (w[j * 40 + i], u[j * 40 + i], effective[i * 30 + j])
      if abs(seen - other) < 1e-12 { swapped += 1 } else { expectClose([seen], [(own - 0.3 * other) / 0.7], 1e-12) }
    }
    #expect(abs(Double(swapped) / 1200 - 0.3) < 0.055)
  }
}
