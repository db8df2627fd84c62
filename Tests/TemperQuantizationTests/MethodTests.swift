import Glibc
import TemperCatalogue
import TemperCore
import Testing

@testable import TemperQuantization

private typealias Parameters = [(name: String, value: Value)]

/// Settings that keep tests short.
private func short(_ method: Method) -> Parameters {
  var parameters: Parameters = []
  for parameter in method.parameters where ["iterations", "iters"].contains(parameter.name) {
    parameters.append((parameter.name, .integer(8)))
  }
  if method.name == "multi_codebook_vq" { parameters += [("m", .integer(1)), ("K", .integer(4))] }
  if method.name == "additive_codebooks" { parameters.append(("codebook_bits", .integer(3))) }
  return parameters
}

@Suite struct EveryQuantizerTests {
  /// The features that are noise-shaped lie in [-1, 1], and zero is no level of theirs.
  @Test(arguments: Quantizers.all.map(\.name).filter { $0 != "sigma_delta_rff" }) func awkwardWeights(name: String)
    throws
  {
    let record = try Catalogue(Quantizers.all).find(name, kinds: [.quantizer])
    let method = try record.quantizer(short(record))
    for shape in [[1, 1], [1, 7], [3, 33], [2, 0], [0, 4]] as [Shape] {
      for value in [nil, 0, 0.3, -2] as [Float?] {
        let weight =
          try value.map { try Tensor([Float](repeating: $0, count: shape.count), shape: shape) } ?? weights(shape)
        let x = correlatedInputs(6, shape[1])
        let result = try method.quantize(weight, calibration: x, workers: workers)
        let back = floats(try result.matrix.dequantize(workers: workers))
        #expect(back.allSatisfy { $0.isFinite }, "\(shape)")
        #expect(result.report.relativeError.isFinite && result.report.byteCount == result.matrix.byteCount)
        let y = floats(try result.matrix.matmul(x, workers: workers))
        #expect(y.count == 6 * shape[0] && y.allSatisfy { $0.isFinite })
        if value == 0 { #expect(back.allSatisfy { abs($0) < 1e-6 }, "\(shape)") }
      }
    }
  }

  @Test(arguments: Quantizers.all.map(\.name)) func badInput(name: String) throws {
    let record = try Catalogue(Quantizers.all).find(name, kinds: [.quantizer])
    let method = try record.quantizer(short(record))
    let x = correlatedInputs(4, 8)
    for bad in [Float.nan, .infinity, -.infinity] {
      var values = floats(weights([3, 8]))
      values[12] = bad
      let weight = try Tensor(values, shape: [3, 8])
      #expect(failure { _ = try method.quantize(weight, calibration: x, workers: workers) }?.code == .notFinite)
    }
    let empty = try Tensor(zeros: [0, 8])
    #expect(
      failure { _ = try method.quantize(weights([3, 8]), calibration: empty, workers: workers) }?.code == .invalidShape)
    if method.needsInputs {
      #expect(failure { _ = try method.quantize(weights([3, 8]), workers: workers) }?.code == .invalidArgument)
    }
  }

  /// One thread and three give the same bits.
  @Test(arguments: Quantizers.all.map(\.name)) func threads(name: String) throws {
    let record = try Catalogue(Quantizers.all).find(name, kinds: [.quantizer])
    let method = try record.quantizer(short(record))
    let (weight, x) = (weights([9, 40]), correlatedInputs(50, 40))
    let results = try [1, 3].map { count in
      floats(
        try method.quantize(weight, calibration: x, workers: Workers(count: count)).matrix.dequantize(workers: workers))
    }
    #expect(results[0] == results[1])
  }
}

@Suite struct PromiseTests {
  /// At the same bits and granularity never above rounding to nearest, whatever the data.
  @Test(arguments: ["awq", "adaround", "adaquant"], [2, 3, 4]) func outputsAreNeverWorse(name: String, bits: Int) throws
  {
    for (index, x) in [correlatedInputs(60, 16), weights([40, 16], seed: 9, scale: 1), correlatedInputs(1, 16)]
      .enumerated()
    {
      let weight = weights([6, 16], seed: UInt64(20 + index))
      var parameters: Parameters = [("bits", .integer(bits))]
      if name == "adaquant" { parameters += [("bits_a", .none), ("iters", .integer(60)), ("lr_w", .real(1e-3))] }
      if name == "adaround" { parameters.append(("iterations", .integer(600))) }
      let plain = try quantizer("round_to_nearest", [("bits", .integer(bits)), ("symmetric", .boolean(false))])
        .quantize(weight, calibration: x, workers: workers).report.outputError!
      let found = try quantizer(name, parameters).quantize(weight, calibration: x, workers: workers)
      // The offsets of adaquant's biases are in the report.
      #expect(found.report.outputError! <= plain * (1 + 1e-6), "\(index)")
      if index == 0, name != "adaround" || bits > 2 { #expect(found.report.outputError! < plain) }
    }
  }

  @Test(arguments: 1...5) func tablesOfOnesOwnAreNeverWorseThanEvenLevels(bits: Int) throws {
    for seed in 1...3 {
      let weight = weights([7, 50], seed: UInt64(seed))
      let found = try quantizer("kmeans", [("bits", .integer(bits)), ("group_size", .integer(16))])
        .quantize(weight, workers: workers).report
      guard bits > 1 else {
        #expect(found.meanSquaredError < 0.5 * Double(floats(weight).map { $0 * $0 }.reduce(0, +)) / 350)
        continue
      }
      let plain = try quantizer("round_to_nearest", [("bits", .integer(bits)), ("group_size", .integer(16))])
        .quantize(weight, workers: workers).report
      #expect(found.meanSquaredError < plain.meanSquaredError)
    }
  }

  /// Two levels and three: no other scale on a fine raster misses less.
  @Test(arguments: ["binary", "ternary"]) func bestScales(name: String) throws {
    let weight = weights([3, 40])
    let matrix = try quantizer(name).quantize(weight, workers: workers).matrix
    let (values, back) = (doubles(weight), doubles(try matrix.dequantize(workers: workers)))
    let levels: [Double] = name == "binary" ? [-1, 1] : [-1, 0, 1]
    for row in 0..<3 {
      let part = (row * 40)..<(row * 40 + 40)
      let found = part.reduce(0.0) { $0 + (values[$1] - back[$1]) * (values[$1] - back[$1]) }
      for step in 1...400 {
        let scale = 0.4 * Double(step) / 400
        let error = part.reduce(0.0) { sum, i in
          sum + levels.map { (values[i] - scale * $0) * (values[i] - scale * $0) }.min()!
        }
        #expect(found <= error * (1 + 1e-6))
      }
    }
  }

  @Test func zeroPointsOfHalfQuadraticLeaveSmallerErrors() throws {
    var values = floats(weights([4, 64]))
    for i in stride(from: 5, to: 256, by: 40) { values[i] *= 6 }
    let weight = try Tensor(values, shape: [4, 64])
    func error(_ iterations: Int) throws -> Double {
      let parameters: Parameters = [("bits", .integer(3)), ("iterations", .integer(iterations))]
      let back = floats(
        try quantizer("hqq", parameters).quantize(weight, workers: workers).matrix.dequantize(workers: workers))
      return zip(values, back).reduce(0.0) { $0 + Double(abs($1.0 - $1.1)) }
    }
    let (tuned, start) = (try error(20), try error(0))
    #expect(tuned < start)
  }
}

@Suite struct BlockFormatTests {
  /// Scaling by 2 scales the result by 2; twice is once; 32 values share an exponent.
  @Test(arguments: BlockScaled.methods.map(\.name) + ["block_floating_point"]) func powersOfTwo(name: String) throws {
    let weight = weights([3, 70])
    let method = try quantizer(name)
    let once = try method.quantize(weight, workers: workers)
    let back = try once.matrix.dequantize(workers: workers)
    let doubled = try Tensor(floats(weight).map { 2 * $0 }, shape: [3, 70])
    let twice = floats(try method.quantize(doubled, workers: workers).matrix.dequantize(workers: workers))
    #expect(twice == floats(back).map { 2 * $0 })
    let again = try method.quantize(back, workers: workers).matrix
    let second = floats(try again.dequantize(workers: workers))
    #expect(second == floats(back))
    // A byte for each block's exponent.
    let block = name == "block_floating_point" ? 16 : 32
    let packed = once.matrix.packed!
    #expect(once.matrix.byteCount == packed.codes.byteCount + 3 * ((70 + block - 1) / block))
  }

  /// The page's values of E2M1: ties to even.
  @Test func valuesOfTheSpecification() throws {
    var row = [Float](repeating: 0, count: 32)
    row[0...6] = [6, 2.5, 5, 3.6, -0.25, 0.26, 7]
    // 7 cuts off at 6: the block's exponent is that of 4, as for 6.
    let back = floats(
      try quantizer("mxfp4").quantize(try Tensor(row, shape: [1, 32]), workers: workers).matrix.dequantize(
        workers: workers))
    #expect(Array(back[0...6]) == [6, 2, 4, 4, 0, 0.5, 6])
  }

  @Test func signalOfUniformInputs() throws {
    var random = Random(seed: 2)
    let values = (0..<20000).map { _ in Float(2 * random.uniform() - 1) } + [1]
    let report = try quantizer("round_to_nearest", [("bits", .integer(8))])
      .quantize(try Tensor(values, shape: [1, 20001]), workers: workers).report
    // 10 log10(4 · 127²)
    #expect(abs(report.signalToNoise - 48.1) < 0.15)
  }

  @Test func stochasticRoundingKeepsTheMean() throws {
    let value: Float = 0.3
    // 1 makes the step of 4 symmetric bits 1/7; 0.3 is 2.1 steps.
    let values = [1] + [Float](repeating: value, count: 4000)
    let method = try quantizer(
      "round_to_nearest", [("bits", .integer(4)), ("rounding", .text("stochastic")), ("seed", .integer(5))])
    let back = doubles(
      try method.quantize(try Tensor(values, shape: [1, 4001]), workers: workers).matrix.dequantize(workers: workers))
    let mean = back.dropFirst().reduce(0, +) / 4000
    let deviation = (0.1 * 0.9 / 4000).squareRoot() / 7
    #expect(abs(mean - Double(value)) < 4 * deviation)
    #expect(Set(back.dropFirst().map { ($0 * 7).rounded() }) == [2, 3] && back[0] == 1)
  }

  @Test func powersOfTwoAsScales() throws {
    for symmetric in [true, false] {
      let method = try quantizer(
        "round_to_nearest",
        [("bits", .integer(4)), ("scales", .text("power_of_two")), ("symmetric", .boolean(symmetric))])
      let weight = weights([5, 33])
      let matrix = try method.quantize(weight, workers: workers).matrix
      let scales = floats(matrix.scales)
      #expect(scales.allSatisfy { $0.significand == 1 } && matrix.packed!.hasExponents)
      let back = floats(try matrix.dequantize(workers: workers))
      // Rounded up: nothing is cut off by more than the zero point's rounding.
      for (i, w) in floats(weight).enumerated() {
        #expect(abs(w - back[i]) <= scales[i / 33] * (symmetric ? 0.5001 : 1.0001))
      }
    }
  }

  /// The minimum of the error that the bounds are for, on a raster.
  @Test(arguments: [true, false], [2.0, 4, 8]) func analyticBounds(isLaplacian: Bool, bits: Double) {
    let levels = exp2(bits)
    func error(_ a: Double) -> Double {
      let rounding = a * a / (3 * levels * levels)
      return isLaplacian
        ? 2 * exp(-a) + rounding
        : (a * a + 1) * erfc(a / 2.0.squareRoot()) - (2 / Double.pi).squareRoot() * a * exp(-a * a / 2) + rounding
    }
    let found = error(AnalyticRange.multiple(isLaplacian, levels: levels))
    #expect((1...4000).allSatisfy { found <= error(Double($0) / 200) + 1e-12 })
  }

  @Test func rangesThatIgnoreOutliers() throws {
    var values = floats(weights([1, 4000], scale: 0.1))
    values[17] = 30
    let weight = try Tensor(values, shape: [1, 4000])
    for range in ["entropy", "aciq"] {
      let scale = floats(
        try quantizer("round_to_nearest", [("bits", .integer(4)), ("range", .text(range))])
          .quantize(weight, workers: workers).matrix.scales)[0]
      #expect(scale * 7 < 10, "\(range)")
    }
  }
}

@Suite struct BitAllocationTests {
  @Test func thePagesExample() {
    let bits = BitAllocation.realBits([1, 4, 16, 64], mean: 3)
    for (found, expected) in zip(bits, [1.5, 2.5, 3.5, 4.5]) { #expect(abs(found - expected) < 1e-12) }
    #expect(BitAllocation.realBits([3, 3, 3], mean: 2.5).allSatisfy { abs($0 - 2.5) < 1e-12 })
    // A column that hardly counts gets none, and the rest shares all: active ones cost alike.
    let skewed = BitAllocation.realBits([1e-9, 1, 4], mean: 1)
    #expect(skewed[0] == 0 && abs(skewed.reduce(0, +) - 3) < 1e-12)
    #expect(abs(exp2(-2 * skewed[1]) - 4 * exp2(-2 * skewed[2])) < 1e-12)
  }

  @Test func wholeBitsAreTheBest() {
    var random = Random(seed: 8)
    for _ in 0..<30 {
      let costs = (0..<4).map { _ in exp2(10 * random.uniform()) }
      let total = 4 + random.below(9)
      let found = BitAllocation.wholeBits(costs, mean: Double(total) / 4, most: 8)
      func loss(_ bits: [Int]) -> Double { zip(costs, bits).reduce(0) { $0 + $1.0 * exp2(-2 * Double($1.1)) } }
      var least = Double.infinity
      for index in 0..<6561 {
        let bits = [index % 9, index / 9 % 9, index / 81 % 9, index / 729]
        if bits.reduce(0, +) == total { least = min(least, loss(bits)) }
      }
      #expect(found.reduce(0, +) == total && loss(found) <= least * (1 + 1e-12))
    }
  }

  @Test func unevenInputsNeedUnevenBits() throws {
    let (rows, n) = (12, 32)
    var values = floats(correlatedInputs(200, n))
    for i in values.indices { values[i] *= exp2(Float(i % n) / 6) }
    let x = try Tensor(values, shape: [200, n])
    for seed in 1...5 {
      let weight = weights([rows, n], seed: UInt64(seed))
      let uniform = try quantizer("gptq", [("bits", .integer(3))]).quantize(weight, calibration: x, workers: workers)
      let found = try quantizer("baq_bit_allocation").quantize(weight, calibration: x, workers: workers)
      #expect(found.matrix.bits <= 3)
      #expect(found.report.outputError! <= uniform.report.outputError!)
    }
  }
}

@Suite struct LearnedGridTests {
  /// With rounding frozen, the slopes are those of finite differences.
  @Test func slopesOfRangesAndMinima() {
    for (range, minimum) in [(3.1, -1.2), (2.0, -2.6), (1.5, 0.2)] as [(Float, Float)] {
      let grid = LearnedRange(range, minimum, bits: 3)
      for value in [-4, -0.9, -0.31, 0.02, 0.77, 2.4] as [Float] {
        /// Q with the roundings' errors held where they are.
        func frozen(_ v: Double, _ r: Double, _ m: Double) -> Double {
          let (step, highest) = (r / 7, 7.0)
          let zero = -m / step + Double(grid.zero) + Double(minimum) / (Double(range) / 7)
          let held = min(max(Double(value) / (Double(range) / 7) + Double(grid.zero), 0), highest)
          let error = Double(grid.code(value)) - held
          let wanted = (-minimum / (range / 7)).rounded(.toNearestOrEven)
          let z = wanted >= 0 && wanted <= 7 ? zero : Double(grid.zero)
          return step * (min(max(v / step + z, 0), highest) + error - z)
        }
        let slopes = grid.slopes(value)
        let e = 1e-5
        let (v, r, m) = (Double(value), Double(range), Double(minimum))
        #expect(abs((frozen(v + e, r, m) - frozen(v - e, r, m)) / (2 * e) - Double(slopes.value)) < 1e-4)
        #expect(abs((frozen(v, r + e, m) - frozen(v, r - e, m)) / (2 * e) - Double(slopes.range)) < 1e-4)
        #expect(abs((frozen(v, r, m + e) - frozen(v, r, m - e)) / (2 * e) - Double(slopes.minimum)) < 1e-4)
      }
    }
  }

  /// At 16 bits of inputs and 8 of weights next to nothing is missed, and weights stay.
  @Test func manyBits() throws {
    let (weight, x) = (weights([4, 12]), correlatedInputs(80, 12))
    let result = try quantizer(
      "adaquant", [("bits_w", .integer(8)), ("bits_a", .integer(16)), ("iters", .integer(50))]
    )
    .quantize(weight, calibration: x, workers: workers)
    #expect(result.report.outputError! < 1e-4)
  }

  @Test func adaptersTakeWhatTwoBitsLose() throws {
    let (weight, x) = (weights([8, 24]), correlatedInputs(100, 24))
    func error(_ parameters: Parameters) throws -> Double {
      try quantizer(
        "saliency_regularized_quantization", [("group", .integer(8)), ("iterations", .integer(120))] + parameters
      )
      .quantize(weight, calibration: x, workers: workers).report.outputError!
    }
    let plain = try quantizer(
      "round_to_nearest", [("bits", .integer(2)), ("symmetric", .boolean(false)), ("group_size", .integer(8))]
    ).quantize(weight, calibration: x, workers: workers).report.outputError!
    let alone = try error([("rank", .integer(0)), ("lam", .real(0))])
    let full = try error([("rank", .integer(8)), ("lam", .real(0)), ("lr_adapters", .real(0.02))])
    #expect(alone < plain && full < 0.3 * alone)
    let fine = try error([("bits", .integer(8)), ("rank", .integer(4))])
    #expect(fine < 1e-3)
  }

  @Test func correctedMeans() throws {
    let weight = weights([5, 20])
    let shifted = floats(weights([50, 20], seed: 3, scale: 1)).map { $0 + 2 }
    let x = try Tensor(shifted, shape: [50, 20])
    let matrix = try quantizer("bias_correction", [("bits", .integer(2))]).quantize(
      weight, calibration: x, workers: workers)
    let y = doubles(try matrix.matrix.matmul(x, workers: workers))
    let exact = try MatrixProductOfTests.product(x, weight)
    for row in 0..<5 {
      let mean = (0..<50).reduce(0.0) { $0 + y[$1 * 5 + row] - exact[$1 * 5 + row] } / 50
      #expect(abs(mean) < 1e-4)
    }
    let plain = try quantizer("round_to_nearest", [("bits", .integer(2)), ("symmetric", .boolean(false))])
      .quantize(weight, calibration: x, workers: workers).report.outputError!
    #expect(matrix.report.outputError! < 0.5 * plain)
  }
}

enum MatrixProductOfTests {
  static func product(_ x: Tensor, _ w: Tensor) throws -> [Double] {
    let (a, b) = (doubles(x), doubles(w))
    let (m, n, k) = (x.shape[0], w.shape[0], x.shape[1])
    return (0..<(m * n)).map { index in
      (0..<k).reduce(0.0) { $0 + a[index / n * k + $1] * b[index % n * k + $1] }
    }
  }
}

@Suite struct VectorTests {
  @Test func codesAreTheNearestWords() throws {
    let weight = weights([60, 8])
    let matrix = try quantizer(
      "multi_codebook_vq", [("m", .integer(2)), ("K", .integer(8)), ("levels", .integer(1))]
    ).quantize(weight, workers: workers).matrix
    let form = matrix.form as! VectorCodes
    let (values, tables, back) = (
      doubles(weight), doubles(form.tables), doubles(try matrix.dequantize(workers: workers))
    )
    for row in 0..<60 {
      for part in 0..<2 {
        func error(_ word: Int) -> Double {
          (0..<4).reduce(0.0) {
            let missed = values[row * 8 + part * 4 + $1] - tables[(part * 8 + word) * 4 + $1]
            return $0 + missed * missed
          }
        }
        let found = (0..<4).reduce(0.0) {
          let missed = values[row * 8 + part * 4 + $1] - back[row * 8 + part * 4 + $1]
          return $0 + missed * missed
        }
        #expect(found <= (0..<8).map(error).min()! + 1e-9)
      }
    }
  }

  @Test func oneWordGivesTheMean() throws {
    let weight = weights([20, 4])
    let back = doubles(
      try quantizer("multi_codebook_vq", [("m", .integer(1)), ("K", .integer(1)), ("levels", .integer(1))])
        .quantize(weight, workers: workers).matrix.dequantize(workers: workers))
    let values = doubles(weight)
    for column in 0..<4 {
      let mean = (0..<20).reduce(0.0) { $0 + values[$1 * 4 + column] } / 20
      for row in 0..<20 { #expect(abs(back[row * 4 + column] - mean) < 1e-6) }
    }
  }

  @Test func moreTablesMissLess() throws {
    let weight = weights([40, 16])
    let errors = try (1...3).map { tables in
      try quantizer(
        "additive_codebooks",
        [("group_size", .integer(4)), ("codebooks", .integer(tables)), ("codebook_bits", .integer(3))]
      ).quantize(weight, workers: workers).report.meanSquaredError
    }
    #expect(errors[1] < 0.8 * errors[0] && errors[2] < 0.8 * errors[1])
  }
}

@Suite struct PruningTests {
  @Test func sharesAndPatterns() throws {
    let (weight, x) = (weights([6, 40]), correlatedInputs(100, 40))
    for name in ["magnitude_pruning", "wanda", "sparsegpt"] {
      for (share, kept) in [(0.0, 40), (0.25, 30), (0.5, 20), (1, 0)] as [(Double, Int)] {
        let back = floats(
          try quantizer(name, [("sparsity", .real(share))]).quantize(weight, calibration: x, workers: workers).matrix
            .dequantize(workers: workers))
        for row in 0..<6 { #expect(back[(row * 40)..<(row * 40 + 40)].count { $0 != 0 } == kept) }
      }
      let back = floats(
        try quantizer(name, [("pattern", .text("2:4"))]).quantize(weight, calibration: x, workers: workers).matrix
          .dequantize(workers: workers))
      for start in stride(from: 0, to: 240, by: 4) { #expect(back[start..<(start + 4)].count { $0 == 0 } == 2) }
    }
  }

  @Test func whoLooksAtInputsLosesLess() throws {
    var values = floats(correlatedInputs(200, 40))
    for i in values.indices { values[i] *= exp2(Float(i % 40) / 8) }
    let x = try Tensor(values, shape: [200, 40])
    let errors = try ["magnitude_pruning", "wanda", "sparsegpt"].map {
      try quantizer($0).quantize(weights([10, 40]), calibration: x, workers: workers).report.outputError!
    }
    #expect(errors[1] < errors[0] && errors[2] < errors[1])
  }
}
