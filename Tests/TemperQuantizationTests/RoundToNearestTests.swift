import TemperCatalogue
import TemperCore
import Testing

@testable import TemperQuantization

private struct Case: CustomTestStringConvertible {
  var bits: Int
  var symmetric: Bool
  var granularity: Granularity

  var method: RoundToNearest {
    get throws {
      RoundToNearest(grid: try Grid(symmetric ? .symmetric : .asymmetric, bits: bits), granularity: granularity)
    }
  }
  var testDescription: String { "\(bits) bits, \(symmetric ? "symmetric" : "asymmetric"), \(granularity)" }

  static let all: [Case] = (2...8).flatMap { bits in
    [true, false].flatMap { symmetric in
      [Granularity.tensor, .channel, .group(32), .group(7), .group(1), .group(1000)].map {
        Case(bits: bits, symmetric: symmetric, granularity: $0)
      }
    }
  }
}

/// The scale of each element of a packed (rows, columns) weight.
private func scales(_ matrix: QuantizedMatrix) -> [Float] {
  let all = floats(matrix.scales)
  let groups = matrix.scales.shape[1]
  return (0..<matrix.rows).flatMap { row in
    (0..<matrix.columns).map { all[(matrix.scales.shape[0] == 1 ? 0 : row) * groups + $0 / matrix.groupSize] }
  }
}

@Suite struct RoundToNearestTests {
  @Test(arguments: Case.all) fileprivate func noElementIsMoreThanHalfAStepAway(form: Case) throws {
    for shift in [0.0, 0.3, -5] {
      let weight = try Tensor(floats(weights([9, 45])).map { $0 + Float(shift) }, shape: [9, 45])
      let matrix = try form.method.quantize(weight, workers: workers).matrix
      let back = floats(try matrix.dequantize(workers: workers))
      for (index, (w, scale)) in zip(floats(weight), scales(matrix)).enumerated() {
        // Half a step, and the rounding of scale · level in float32.
        #expect(abs(Double(back[index]) - Double(w)) <= Double(scale) * (0.5 + Double(1 << form.bits) * 0x1p-23))
      }
    }
  }

  @Test(arguments: Case.all) fileprivate func codesStayOnASecondPass(form: Case) throws {
    let first = try form.method.quantize(weights([9, 45]), workers: workers).matrix
    let back = try first.dequantize(workers: workers)
    let second = try form.method.quantize(back, workers: workers).matrix
    #expect(floats(try first.looseCodes(workers: workers)) == floats(try second.looseCodes(workers: workers)))
    #expect(first.zeros.map(floats) == second.zeros.map(floats))
    for (a, b) in zip(floats(first.scales), floats(second.scales)) { #expect(abs(a - b) <= 2 * a.ulp) }
    if form.symmetric { #expect(floats(try second.dequantize(workers: workers)) == floats(back)) }
  }

  @Test func symmetricScalesAreTheLargestSizeOverTheLargestLevel() throws {
    let weight = try Tensor([0.5, -1.27, 0.01, 2, -4, 1] as [Float], shape: [2, 3])
    let matrix = try quantizer("round_to_nearest").quantize(weight, workers: workers).matrix
    #expect(matrix.scales.shape == [2, 1])
    for (scale, expected) in zip(floats(matrix.scales), [1.27 / 127, 4.0 / 127] as [Float]) {
      #expect(abs(scale - expected) <= expected.ulp)
    }
    // Code 128 is level 0.
    #expect(floats(try matrix.looseCodes(workers: workers)) == [178, 1, 129, 192, 1, 160])
  }

  @Test func symmetricQuantizationIsOdd() throws {
    let weight = weights([8, 40])
    let negative = try Tensor(floats(weight).map { -$0 }, shape: [8, 40])
    for bits in 2...8 {
      let method = RoundToNearest(grid: try Grid(.symmetric, bits: bits), granularity: .group(16))
      let back = try method.quantize(weight, workers: workers).matrix.dequantize(workers: workers)
      let mirrored = try method.quantize(negative, workers: workers).matrix.dequantize(workers: workers)
      #expect(floats(back).map { -$0 } == floats(mirrored))
    }
  }

  @Test func zeroStaysZero() throws {
    let values: [Float] = [0, 3, 5, 0, -2, -7, 0, 1, -1, 0, 0, 0]
    for symmetric in [true, false] {
      for bits in [2, 4, 8] {
        let method = try quantizer(
          "round_to_nearest",
          [("bits", .integer(bits)), ("symmetric", .boolean(symmetric)), ("group_size", .integer(3))])
        let back = floats(
          try method.quantize(try Tensor(values, shape: [2, 6]), workers: workers).matrix.dequantize(workers: workers))
        for (w, found) in zip(values, back) where w == 0 { #expect(found == 0) }
      }
    }
  }

  @Test func asymmetricGridsReachBothEnds() throws {
    // (max − min) / 255 = 1/64, a grid that float32 carries exactly.
    let values = (0..<256).map { Float($0 - 64) / 64 }
    let method = RoundToNearest(grid: try Grid(.asymmetric, bits: 8), granularity: .channel)
    let matrix = try method.quantize(try Tensor(values, shape: [1, 256]), workers: workers).matrix
    #expect(floats(matrix.scales) == [1 / 64] && floats(matrix.zeros!) == [64])
    #expect(floats(try matrix.dequantize(workers: workers)) == values)
    #expect(floats(try matrix.looseCodes(workers: workers)) == (0..<256).map(Float.init))
  }

  @Test func valuesAlreadyOnTheGridAreExact() throws {
    for bits in 2...8 {
      let top = (1 << (bits - 1)) - 1
      let values = (-top...top).map { Float($0) * 0.25 }
      let result = try RoundToNearest(grid: try Grid(.symmetric, bits: bits), granularity: .tensor)
        .quantize(try Tensor(values), workers: workers)
      #expect(floats(try result.matrix.dequantize(workers: workers)) == values)
      #expect(result.report.largestError == 0 && result.report.relativeError == 0)
      #expect(result.report.signalToNoise == .infinity)
    }
  }

  @Test func constantAndZeroWeights() throws {
    for symmetric in [true, false] {
      let method = RoundToNearest(grid: try Grid(symmetric ? .symmetric : .asymmetric, bits: 4), granularity: .channel)
      for value in [0, 0.7, -3, 1e-40, 0x1p127, -0x1p127] as [Float] {
        let weight = try Tensor([Float](repeating: value, count: 10), shape: [2, 5])
        let back = floats(try method.quantize(weight, workers: workers).matrix.dequantize(workers: workers))
        let tolerance = max(abs(value) * 0x1p-22, .leastNormalMagnitude / 2)
        #expect(back.allSatisfy { abs($0 - value) <= tolerance }, "\(value), symmetric \(symmetric): \(back[0])")
      }
    }
  }

  @Test func theWholeRangeOfFloat() throws {
    let values: [Float] = [0x1p127, -0x1p127, 0x1p126, 0, 1]
    for symmetric in [true, false] {
      let method = RoundToNearest(grid: try Grid(symmetric ? .symmetric : .asymmetric, bits: 2), granularity: .tensor)
      let matrix = try method.quantize(try Tensor(values, shape: [1, 5]), workers: workers).matrix
      let half = Double(floats(matrix.scales)[0]) / 2
      for (w, back) in zip(values, floats(try matrix.dequantize(workers: workers))) {
        #expect(back.isFinite && abs(Double(back) - Double(w)) <= half * (1 + 0x1p-20))
      }
    }
  }

  @Test func emptyWeights() throws {
    for shape in [[0, 5], [5, 0], [0], [3, 0, 2]] as [Shape] {
      for form in Case.all where form.bits == 4 {
        let result = try form.method.quantize(try Tensor(zeros: shape), workers: workers)
        #expect(try result.matrix.dequantize(workers: workers).shape == shape)
        #expect(result.report.meanSquaredError == 0 && result.report.relativeError == 0)
      }
    }
    let narrow = try Case(bits: 4, symmetric: true, granularity: .channel).method
      .quantize(try Tensor(zeros: [5, 0]), workers: workers).matrix
    #expect(floats(try narrow.matmul(try Tensor(zeros: [2, 0]), workers: workers)) == [Float](repeating: 0, count: 10))
  }

  @Test func vectorsAndHigherRanks() throws {
    for (shape, rows, columns) in [([7], 1, 7), ([4, 3, 2, 2], 4, 12), ([1, 9], 1, 9)] as [(Shape, Int, Int)] {
      let matrix = try quantizer("round_to_nearest").quantize(weights(shape), workers: workers).matrix
      #expect(matrix.rows == rows && matrix.columns == columns && matrix.scales.shape == [rows, 1])
      #expect(try matrix.dequantize(workers: workers).shape == shape)
    }
  }

  @Test func stridedAndFloat64WeightsGiveTheSame() throws {
    let weight = weights([6, 10])
    let method = try quantizer("round_to_nearest", [("bits", .integer(4))])
    let expected = floats(try method.quantize(weight, workers: workers).matrix.dequantize(workers: workers))
    let wide = try method.quantize(try weight.copy(as: .float64), workers: workers).matrix
    #expect(floats(try wide.dequantize(workers: workers)) == expected)
    let turned = try weight.permuted([1, 0]).copy().permuted([1, 0])
    #expect(!turned.isDense)
    #expect(floats(try method.quantize(turned, workers: workers).matrix.dequantize(workers: workers)) == expected)
  }

  @Test func moreBitsAndSmallerGroupsLeaveLessError() throws {
    let weight = weights([32, 256])
    func error(_ bits: Int, _ granularity: Granularity) throws -> Double {
      try RoundToNearest(grid: try Grid(.symmetric, bits: bits), granularity: granularity)
        .quantize(weight, workers: workers).report.meanSquaredError
    }
    for bits in 2..<8 { #expect(try error(bits + 1, .channel) < error(bits, .channel)) }
    #expect(try error(4, .group(32)) < error(4, .channel))
    #expect(try error(4, .channel) < error(4, .tensor))
  }

  /// Uniform on [−1, 1] at 8 bits: noise of step² / 12 with step 1/127 gives 10 log10(4 · 127²) dB.
  @Test func noiseOfUniformWeights() throws {
    var random = Random(seed: 3)
    let weight = try Tensor((0..<40_000).map { _ in Float(random.uniform() * 2 - 1) }, shape: [4, 10_000])
    let report = try quantizer("round_to_nearest").quantize(weight, workers: workers).report
    #expect(abs(report.signalToNoise - 48.1) < 0.1)
  }

  @Test func reportCountsWhatIsStored() throws {
    let weight = weights([10, 96])
    let report = try quantizer(
      "round_to_nearest", [("bits", .integer(4)), ("symmetric", .boolean(false)), ("group_size", .integer(32))]
    ).quantize(weight, workers: workers).report
    // 48 bytes of codes, 3 scales of 4 bytes and 3 zero points in each row.
    #expect(report.byteCount == 10 * (48 + 12 + 3) && report.floatByteCount == 10 * 96 * 4)
    #expect(report.effectiveBits == 5.25 && report.bits == 4 && report.shape == [10, 96])
    let back = try quantizer(
      "round_to_nearest", [("bits", .integer(4)), ("symmetric", .boolean(false)), ("group_size", .integer(32))]
    ).quantize(weight, workers: workers).matrix.dequantize(workers: workers)
    let differences = zip(floats(weight), floats(back)).map { Double($0) - Double($1) }
    let squared = differences.reduce(0) { $0 + $1 * $1 }
    #expect(abs(report.meanSquaredError - squared / 960) < 1e-12)
    #expect(report.largestError == differences.map(abs).max())
  }

  @Test func threadsDoNotChangeBits() throws {
    let weight = weights([300, 1000])
    let method = try quantizer("round_to_nearest", [("bits", .integer(4)), ("granularity", .text("tensor"))])
    let results = try [1, 2, 5].map { try method.quantize(weight, workers: Workers(count: $0)) }
    for other in results.dropFirst() {
      #expect(other.report == results[0].report)
      #expect(floats(other.matrix.codes) == floats(results[0].matrix.codes))
    }
  }
}

@Suite struct BadQuantizerInputTests {
  @Test func weightsThatAreNotFinite() throws {
    for bad in [Float.nan, .infinity, -.infinity, .greatestFiniteMagnitude] {
      var values = floats(weights([4, 33]))
      values[2 * 33 + 20] = bad
      let weight = try Tensor(values, shape: [4, 33])
      for granularity in ["tensor", "channel"] {
        let error = failure {
          _ = try quantizer("round_to_nearest", [("granularity", .text(granularity))]).quantize(
            weight, workers: workers)
        }
        #expect(error?.code == .notFinite && error?.origin == "round_to_nearest")
        #expect(error?.message.contains("row 2, column 20") == true, "\(error?.message ?? "none")")
      }
    }
    let wide = try Tensor([1e300, 1], shape: [1, 2])
    #expect(
      failure { _ = try quantizer("round_to_nearest").quantize(wide, workers: workers) }?.code == .notFinite)
  }

  @Test func weightsOfOtherKinds() throws {
    let method = try quantizer("round_to_nearest")
    #expect(
      failure { _ = try method.quantize(try Tensor([1, 2] as [Int32], shape: [1, 2]), workers: workers) }?.code
        == .invalidType)
    #expect(
      failure { _ = try method.quantize(try Tensor([1] as [Float], shape: []), workers: workers) }?.code
        == .invalidShape)
  }

  @Test func calibrationMustFit() throws {
    let method = try quantizer("round_to_nearest")
    for shape in [[3, 8], [0, 9], [9]] as [Shape] {
      let error = failure {
        _ = try method.quantize(weights([4, 9]), calibration: try Tensor(zeros: shape), workers: workers)
      }
      #expect(error?.code == .invalidShape)
    }
    _ = try method.quantize(weights([4, 9]), calibration: try Tensor(zeros: [3, 9]), workers: workers)
  }

  @Test func parametersOutOfRange() {
    let bad: [[(name: String, value: Value)]] = [
      [("bits", .integer(0))], [("bits", .integer(9))], [("bits", .real(4.5))], [("bit", .integer(4))],
      [("granularity", .text("row"))], [("group_size", .integer(-1))], [("granularity", .text("group"))],
      [("granularity", .text("tensor")), ("group_size", .integer(32))], [("symmetric", .text("yes"))],
    ]
    for parameters in bad {
      let error = failure { _ = try quantizer("round_to_nearest", parameters) }
      #expect(error != nil, "\(parameters)")
    }
    #expect(failure { _ = try Grid(.symmetric, bits: 1) }?.code == .outOfRange)
    #expect(failure { _ = try Grid(.asymmetric, bits: 9) }?.code == .outOfRange)
  }
}
