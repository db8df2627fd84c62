import TemperCatalogue
import TemperCore
import TemperNetworks
import Testing

@testable import TemperQuantization

/// Σ x xᵀ with damping on its diagonal, in plain loops.
private func secondMoments(_ x: Tensor, damping: Double) -> [[Double]] {
  let (samples, n) = (x.shape[0], x.shape[1])
  let values = doubles(x)
  var h = (0..<n).map { i in
    (0..<n).map { j in (0..<samples).reduce(0.0) { $0 + values[$1 * n + i] * values[$1 * n + j] } }
  }
  let mean = (0..<n).reduce(0.0) { $0 + h[$1][$1] } / Double(n)
  for i in 0..<n { h[i][i] += damping * mean }
  return h
}

/// Gauss and Jordan.
private func inverse(_ matrix: [[Double]]) -> [[Double]] {
  let n = matrix.count
  var a = matrix
  var b = (0..<n).map { i in (0..<n).map { $0 == i ? 1.0 : 0 } }
  for column in 0..<n {
    let pivot = a[column][column]
    for j in 0..<n { (a[column][j], b[column][j]) = (a[column][j] / pivot, b[column][j] / pivot) }
    for row in 0..<n where row != column {
      let factor = a[row][column]
      for j in 0..<n {
        a[row][j] -= factor * a[column][j]
        b[row][j] -= factor * b[column][j]
      }
    }
  }
  return b
}

/// The method as its paper has it: the inverse of H for the columns left, shrunk after each, and an update of these
/// columns: w -= (w_i - q_i) / H⁻¹_ii · H⁻¹_i.
private func textbook(_ row: [Double], _ h: [[Double]], order: [Int], round: (Double, Int) -> Double) -> [Double] {
  var (w, q, left) = (row, row, order)
  while let i = left.first {
    let inverted = inverse(left.map { a in left.map { h[a][$0] } })
    q[i] = round(w[i], i)
    let error = (w[i] - q[i]) / inverted[0][0]
    for (place, column) in left.enumerated() { w[column] -= error * inverted[0][place] }
    left.removeFirst()
  }
  return q
}

private func outputError(_ weight: Tensor, _ matrix: QuantizedMatrix, _ x: Tensor) -> Double {
  let (rows, n) = (weight.shape[0], weight.shape[1])
  let difference = zip(doubles(weight), doubles(try! matrix.dequantize(workers: workers))).map { $0 - $1 }
  let inputs = doubles(x)
  var sum = 0.0
  for sample in 0..<x.shape[0] {
    for row in 0..<rows {
      let y = (0..<n).reduce(0.0) { $0 + inputs[sample * n + $1] * difference[row * n + $1] }
      sum += y * y
    }
  }
  return sum
}

private typealias Parameters = [(name: String, value: Value)]

@Suite struct GPTQTests {
  @Test func followsThePaper() throws {
    let (rows, n) = (5, 12)
    let weight = weights([rows, n])
    let x = correlatedInputs(40, n)
    for ordered in [false, true] {
      for symmetric in [false, true] {
        let parameters: Parameters = [
          ("bits", .integer(3)), ("group_size", .integer(4)), ("act_order", .boolean(ordered)),
          ("symmetric", .boolean(symmetric)), ("percdamp", .real(0.05)),
        ]
        let matrix = try quantizer("gptq", parameters).quantize(weight, calibration: x, workers: workers).matrix
        let h = secondMoments(x, damping: 0.05)
        let order = ordered ? (0..<n).sorted { h[$0][$0] > h[$1][$1] } : Array(0..<n)
        let scales = doubles(matrix.scales)
        let zeros = matrix.zeros.map(doubles)
        let found = doubles(try matrix.dequantize(workers: workers))
        for row in 0..<rows {
          let expected = textbook(Array(doubles(weight)[(row * n)..<(row * n + n)]), h, order: order) { w, column in
            let scale = scales[row * 3 + column / 4]
            let zero = zeros?[row * 3 + column / 4] ?? 0
            let (low, high) = symmetric ? (-3.0, 3.0) : (-zero, 7 - zero)
            return scale * max(low, min(high, (w / scale).rounded(.toNearestOrEven)))
          }
          for column in 0..<n { #expect(abs(found[row * n + column] - expected[column]) < 1e-6) }
        }
      }
    }
  }

  @Test func independentInputsLeaveNothingToMakeUp() throws {
    // One input at a time: H is diagonal.
    var identity = [Float](repeating: 0, count: 64 * 64)
    for i in 0..<64 { identity[i * 65] = Float(i + 1) }
    let x = try Tensor(identity, shape: [64, 64])
    let weight = weights([6, 64])
    let parameters: Parameters = [("bits", .integer(4)), ("symmetric", .boolean(false)), ("group_size", .integer(16))]
    let plain = try quantizer("round_to_nearest", parameters).quantize(weight, workers: workers).matrix
    let found = try quantizer("gptq", parameters).quantize(weight, calibration: x, workers: workers).matrix
    #expect(floats(found.codes) == floats(plain.codes) && floats(found.scales) == floats(plain.scales))
  }

  /// Blocks of columns and of rows, over the edges of both.
  @Test func largeLayers() throws {
    let weight = weights([150, 300])
    let x = correlatedInputs(500, 300)
    for bits in [2, 3, 4, 8] {
      let parameters: Parameters = [("bits", .integer(bits)), ("symmetric", .boolean(true))]
      let plain = try quantizer("round_to_nearest", parameters)
        .quantize(weight, calibration: x, workers: workers)
      let found = try quantizer("gptq", parameters).quantize(weight, calibration: x, workers: workers)
      #expect(found.report.byteCount == plain.report.byteCount)
      // The inputs' 8 hidden factors leave most directions of the weights without effect.
      #expect(found.report.outputError! < 0.3 * plain.report.outputError!, "\(bits) bits")
    }
    // What the report says is what the layer's outputs say.
    let small = weights([7, 300])
    let part = try x.slice(0..<40)
    let result = try quantizer("gptq").quantize(small, calibration: part, workers: workers)
    let energy = outputError(
      small,
      try RoundToNearest(grid: try Grid(.symmetric, bits: 8), granularity: .tensor)
        .quantize(try Tensor(zeros: [7, 300]), workers: workers).matrix, part)
    let expected = outputError(small, result.matrix, part) / energy
    #expect(abs(result.report.outputError! - expected) < 1e-6 * expected + 1e-12)
  }

  @Test func threadsDoNotChangeBits() throws {
    let weight = weights([130, 200])
    let x = correlatedInputs(300, 200)
    let results = try [1, 2, 5].map {
      try quantizer("gptq").quantize(weight, calibration: x, workers: Workers(count: $0))
    }
    for other in results.dropFirst() {
      #expect(floats(other.matrix.codes) == floats(results[0].matrix.codes))
      #expect(other.report == results[0].report)
    }
  }

  @Test func fewOrConstantInputs() throws {
    let weight = weights([4, 20])
    for x in [
      correlatedInputs(1, 20), try Tensor(zeros: [3, 20]),
      try Tensor([Float](repeating: 1e-30, count: 60), shape: [3, 20]),
      try Tensor([Float](repeating: 1e20, count: 60), shape: [3, 20]),
    ] {
      let result = try quantizer("gptq").quantize(weight, calibration: x, workers: workers)
      #expect(result.report.outputError!.isFinite)
      let scales = floats(result.matrix.scales)
      let back = floats(try result.matrix.dequantize(workers: workers))
      #expect(zip(floats(weight), back).enumerated().allSatisfy { abs($1.0 - $1.1) <= 16 * scales[$0 / 20] })
    }
  }

  @Test func badCalibration() throws {
    let weight = weights([4, 20])
    let method = try quantizer("gptq")
    #expect(failure { _ = try method.quantize(weight, workers: workers) }?.code == .invalidArgument)
    for bad in [Float.nan, .infinity] {
      var values = floats(correlatedInputs(5, 20))
      values[33] = bad
      let x = try Tensor(values, shape: [5, 20])
      #expect(failure { _ = try method.quantize(weight, calibration: x, workers: workers) }?.code == .notFinite)
    }
    let integers = try Tensor(zeros: [5, 20], .int32)
    #expect(failure { _ = try method.quantize(weight, calibration: integers, workers: workers) }?.code == .invalidType)
    #expect(failure { _ = try quantizer("gptq", [("percdamp", .real(0))]) }?.code == .outOfRange)
  }

  @Test func emptyWeights() throws {
    for shape in [[0, 5], [5, 0]] as [Shape] {
      let x = try Tensor(zeros: [2, shape[1]])
      let result = try quantizer("gptq").quantize(try Tensor(zeros: shape), calibration: x, workers: workers)
      #expect(result.report.outputError == 0)
    }
  }
}

@Suite struct CholeskyTests {
  @Test(arguments: [1, 2, 63, 64, 65, 130, 200]) func factorsMultiplyBack(n: Int) throws {
    let statistics = try InputStatistics(columns: n)
    try statistics.add(correlatedInputs(2 * n, n), workers: workers)
    let a = doubles(statistics.gram)
    let results = try [1, 3].map { count -> [Double] in
      let matrix = try statistics.gram.copy()
      #expect(try Cholesky.factor(matrix, workers: Workers(count: count)))
      return doubles(matrix)
    }
    #expect(results[0] == results[1])
    let l = results[0]
    let size = a.map(abs).max()!
    for i in 0..<n {
      for j in 0...i {
        let product = (0...j).reduce(0.0) { $0 + l[i * n + $1] * l[j * n + $1] }
        #expect(abs(product - a[i * n + j]) <= 1e-13 * size * Double(n))
      }
    }
  }

  @Test func matricesThatHaveNoFactor() throws {
    let indefinite = try Tensor([1, 2, 2, 1] as [Double], shape: [2, 2])
    #expect(try !Cholesky.factor(indefinite, workers: workers))
    for bad in [0, -1, Double.nan, .infinity] {
      #expect(try !Cholesky.factor(try Tensor([bad], shape: [1, 1]), workers: workers))
    }
    // The fault in a later block.
    var values = [Double](repeating: 0, count: 100 * 100)
    for i in 0..<100 { values[i * 101] = i == 90 ? -1 : 2 }
    #expect(try !Cholesky.factor(try Tensor(values, shape: [100, 100]), workers: workers))
  }
}
