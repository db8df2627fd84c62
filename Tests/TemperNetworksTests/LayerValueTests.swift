import Glibc
import TemperCore
import TemperGraph
import Testing

@testable import TemperNetworks

/// What layers compute, against plain loops written from the formulas.
@Suite struct LayerValueTests {
  @Test func dense() throws {
    let (model, x, y, _) = try output(#"[{"dense": 4}]"#, input: [2, 5])
    let (w, b) = (try value(model, "0.weight"), try value(model, "0.bias"))
    var expected: [Double] = []
    for n in 0..<6 {
      for o in 0..<4 { expected.append((0..<5).reduce(b[o]) { $0 + x[n * 5 + $1] * w[o * 5 + $1] }) }
    }
    expectClose(y, expected)
  }

  @Test func pooling() throws {
    let (_, x, largest, _) = try output(
      #"[{"max_pool": {"size": [2, 3], "stride": [1, 2], "padding": [1, 1]}}]"#, input: [2, 4, 5])
    let (model, _, mean, _) = try output(
      #"[{"average_pool": {"size": [2, 3], "stride": [1, 2], "padding": [1, 1]}}]"#, input: [2, 4, 5])
    #expect(model.output == [2, 5, 3])
    var (maxima, means): ([Double], [Double]) = ([], [])
    for plane in 0..<6 {
      for i in 0..<5 {
        for j in 0..<3 {
          var inside: [Double] = []
          for row in (i - 1)..<(i + 1) where (0..<4).contains(row) {
            for column in (2 * j - 1)..<(2 * j + 2) where (0..<5).contains(column) {
              inside.append(x[(plane * 4 + row) * 5 + column])
            }
          }
          maxima.append(inside.max()!)
          means.append(inside.reduce(0, +) / Double(inside.count))
        }
      }
    }
    expectClose(largest, maxima)
    expectClose(mean, means)
    // Steps by the window's size unless told otherwise.
    #expect(try makeModel(#"[{"max_pool": 2}]"#, input: [1, 5, 6]).output == [1, 2, 3])
  }

  @Test func globalAverage() throws {
    let (_, x, y, _) = try output(#"["global_average_pool"]"#, input: [2, 3, 4])
    expectClose(y, (0..<6).map { plane in mean(x[(plane * 12)..<(plane * 12 + 12)]) })
    let (_, s, z, _) = try output(#"["global_average_pool"]"#, input: [4, 5], batch: 2)
    var expected: [Double] = []
    for n in 0..<2 {
      for column in 0..<5 { expected.append(mean((0..<4).map { s[(n * 4 + $0) * 5 + column] })) }
    }
    expectClose(z, expected)
  }

  private func mean(_ values: some Collection<Double>) -> Double { values.reduce(0, +) / Double(values.count) }

  @Test func batchNormInTraining() throws {
    let (model, x, y, run) = try output(
      #"[{"batch_norm": {"momentum": 0.3}}]"#, input: [2, 3, 2], batch: 4, mode: .training)
    let (w, b) = (try value(model, "0.weight"), try value(model, "0.bias"))
    let (oldMean, oldVariance) = (try value(model, "0.running_mean"), try value(model, "0.running_var"))
    var expected = [Double](repeating: 0, count: x.count)
    for c in 0..<2 {
      let places = (0..<x.count).filter { $0 / 6 % 2 == c }
      let n = Double(places.count)
      let mean = places.reduce(0) { $0 + x[$1] } / n
      let variance = places.reduce(0) { $0 + (x[$1] - mean) * (x[$1] - mean) } / n
      for place in places { expected[place] = (x[place] - mean) / (variance + 1e-5).squareRoot() * w[c] + b[c] }
      expectClose([try run.values("0.running_mean")[c]], [0.7 * oldMean[c] + 0.3 * mean])
      expectClose([try run.values("0.running_var")[c]], [0.7 * oldVariance[c] + 0.3 * variance * n / (n - 1)])
    }
    expectClose(y, expected)
  }

  @Test func batchNormAtInference() throws {
    let (model, x, y, run) = try output(#"["batch_norm"]"#, input: [2, 3], mode: .inference)
    #expect(run.outputs.count == 1)
    let (w, b) = (try value(model, "0.weight"), try value(model, "0.bias"))
    let (mean, variance) = (try value(model, "0.running_mean"), try value(model, "0.running_var"))
    expectClose(
      y,
      x.indices.map { i in
        let c = i / 3 % 2
        return (x[i] - mean[c]) / (variance[c] + 1e-5).squareRoot() * w[c] + b[c]
      })
  }

  @Test func layerAndGroupNorm() throws {
    let (model, x, y, _) = try output(#"["layer_norm"]"#, input: [2, 5])
    let (w, b) = (try value(model, "0.weight"), try value(model, "0.bias"))
    func standardized(_ row: ArraySlice<Double>) -> [Double] {
      let mean = row.reduce(0, +) / Double(row.count)
      let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(row.count)
      return row.map { ($0 - mean) / (variance + 1e-5).squareRoot() }
    }
    expectClose(
      y, (0..<6).flatMap { r in standardized(x[(r * 5)..<(r * 5 + 5)]).enumerated().map { $1 * w[$0] + b[$0] } })
    let (grouped, s, z, _) = try output(#"[{"group_norm": 2}]"#, input: [4, 3])
    let (gw, gb) = (try value(grouped, "0.weight"), try value(grouped, "0.bias"))
    expectClose(
      z,
      (0..<6).flatMap { r in
        standardized(s[(r * 6)..<(r * 6 + 6)]).enumerated().map { i, v in
          let channel = r % 2 * 2 + i / 3
          return v * gw[channel] + gb[channel]
        }
      })
  }

  @Test func rmsNorm() throws {
    let (model, x, y, _) = try output(#"[{"rms_norm": {"epsilon": 0.01, "axes": 2}}]"#, input: [2, 3])
    let w = try value(model, "0.weight")
    expectClose(
      y,
      x.indices.map { i in
        let row = x[(i / 6 * 6)..<(i / 6 * 6 + 6)]
        return x[i] / (row.reduce(0) { $0 + $1 * $1 } / 6 + 0.01).squareRoot() * w[i % 6]
      })
  }

  @Test func composition() throws {
    let (_, x, y, _) = try output(#"[{"residual": ["tanh"]}]"#, input: [4])
    expectClose(y, x.map { $0 + Glibc.tanh($0) })
    let (model, s, z, _) = try output(#"[{"parallel": ["tanh", [], {"dense": 1}]}]"#, input: [2])
    #expect(model.parameters.map(\.name) == ["0.2.weight", "0.2.bias"])
    let (w, b) = (try value(model, "0.2.weight"), try value(model, "0.2.bias"))
    expectClose(
      z,
      (0..<3).flatMap { n in
        let (p, q) = (s[2 * n], s[2 * n + 1])
        return [Glibc.tanh(p), Glibc.tanh(q), p, q, p * w[0] + q * w[1] + b[0]]
      })
    let branches = #"{"branches": ["tanh", []], "axis": 0}"#
    #expect(try makeModel(#"[{"parallel": \#(branches)}]"#, input: [2, 3]).output == [4, 3])
  }

  @Test func positions() throws {
    let (_, x, y, _) = try output(#"[{"positional_embedding": "sinusoidal"}]"#, input: [6, 5], batch: 2)
    expectClose(
      y,
      x.indices.map { i in
        let (t, column) = (Double(i / 5 % 6), i % 5)
        let angle = t / pow(10_000.0, Double(column / 2 * 2) / 5)
        return x[i] + (column % 2 == 0 ? Glibc.sin(angle) : Glibc.cos(angle))
      })
  }
}
