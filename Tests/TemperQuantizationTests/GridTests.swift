import Glibc
import TemperCatalogue
import TemperCore
import Testing

@testable import TemperQuantization

/// The values that `values` become under scale 1.
private func rounded(_ values: [Float], _ grid: Grid) throws -> [Float] {
  let matrix = try PackedMatrix(
    nearest: try Weight(try Tensor(values)), grid: grid, groupSize: values.count,
    scales: try Tensor([1] as [Float], shape: [1, 1]), zeros: nil, workers: workers)
  return floats(try matrix.dequantize(workers: workers))
}

@Suite struct CodebookTests {
  /// Level i of the upper half is the normal quantile of a probability between 1/2 and p, evenly spaced, over the
  /// largest; eight steps above zero, seven below. Dettmers et al. take p from 1/2 (1/30 + 1/32).
  @Test func nf4IsMadeOfNormalQuantiles() {
    let tail = 0.5 * (1 / 32.0 + 1 / 30.0)
    func probability(_ level: Double, _ reach: Double) -> Double { 0.5 * (1 + erf(level * reach / 2.0.squareRoot())) }
    // The reach: the quantile of 1 - tail, by bisection.
    var (low, high) = (0.0, 5.0)
    for _ in 0..<60 {
      let middle = (low + high) / 2
      if probability(middle, 1) < 1 - tail { low = middle } else { high = middle }
    }
    let levels = Codebook.nf4.levels.map(Double.init)
    #expect(levels.count == 16 && levels[7] == 0)
    for (count, side) in [(8, levels[7...].map { $0 }), (7, levels[...7].reversed().map { -$0 })] {
      for (step, level) in side.enumerated() {
        let expected = 0.5 + (0.5 - tail) * Double(step) / Double(count)
        #expect(abs(probability(level, low) - expected) < 1e-6)
      }
    }
  }

  @Test func minifloatsHaveTheirPublishedValues() throws {
    #expect(Codebook.fp4E2M1.levels == [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    let e4m3 = Codebook.fp8E4M3.levels
    #expect(e4m3[1] == 0x1p-9 && e4m3[7] == 7 * 0x1p-9 && e4m3[8] == 0x1p-6 && e4m3[0x38] == 1)
    #expect(e4m3[0x7E] == 448 && e4m3[0x7F].isNaN && e4m3[0xFE] == -448 && e4m3[0xFF].isNaN)
    let e5m2 = Codebook.fp8E5M2.levels
    #expect(e5m2[1] == 0x1p-16 && e5m2[4] == 0x1p-14 && e5m2[0x3C] == 1 && e5m2[0x7B] == 57344)
    #expect((0x7C...0x7F).allSatisfy { e5m2[$0].isNaN && e5m2[$0 + 0x80].isNaN })
  }

  @Test func roundingIsNearestWithTiesToEven() throws {
    #expect(
      try rounded([2.5, 5, 3.6, -2.5, -5, 0.25, -0.25, 0.75, 100, -100], Grid(.fp4E2M1)) == [
        2, 4, 4, -2, -4, 0, 0, 1, 6, -6,
      ])
    #expect(
      try rounded([0.3, 1000, 1.0625, 1.1875, 0x1p-10, 0x1.8p-9, -0.3], Grid(.fp8E4M3)) == [
        0.3125, 448, 1, 1.25, 0, 0x1p-8, -0.3125,
      ])
    #expect(try rounded([1.125, 1.375, 1e6], Grid(.fp8E5M2)) == [1, 1.5, 57344])
  }

  @Test(arguments: Codebook.all) func everyLevelIsItsOwnNearest(codebook: Codebook) throws {
    let levels = codebook.levels.filter { !$0.isNaN }
    #expect(try rounded(levels, Grid(codebook)) == levels)
  }

  @Test(arguments: Codebook.all) func quantizingTwiceChangesNothing(codebook: Codebook) throws {
    for granularity in [Granularity.tensor, .channel, .group(32)] {
      let method = RoundToNearest(grid: Grid(codebook), granularity: granularity)
      let first = try method.quantize(weights([7, 70]), workers: workers).matrix
      let back = try first.dequantize(workers: workers)
      let second = try method.quantize(back, workers: workers).matrix
      #expect(floats(second.scales) == floats(first.scales))
      #expect(floats(try second.dequantize(workers: workers)) == floats(back))
    }
  }

  @Test(arguments: Codebook.all) func nearestOfAllLevels(codebook: Codebook) throws {
    let weight = weights([6, 90])
    let matrix = try quantizer(codebook.name, [("group_size", .integer(32))]).quantize(weight, workers: workers).matrix
    let scales = floats(matrix.scales)
    let back = floats(try matrix.dequantize(workers: workers))
    for (index, value) in floats(weight).enumerated() {
      let scale = scales[index / 90 * 3 + index % 90 / 32]
      let nearest = codebook.levels.filter { !$0.isNaN }.map { abs(scale * $0 - value) }.min()!
      #expect(abs(back[index] - value) <= nearest + scale * 1e-5)
    }
  }

  /// Weights near a normal distribution keep more in quantiles than in even steps.
  @Test func nf4SuitsNormalWeights() throws {
    let weight = weights([64, 256], seed: 5)
    let groups: [(name: String, value: Value)] = [("group_size", .integer(64))]
    let nf4 = try quantizer("nf4", groups).quantize(weight, workers: workers).report
    let even = try quantizer("round_to_nearest", groups + [("bits", .integer(4))]).quantize(weight, workers: workers)
    #expect(nf4.meanSquaredError < even.report.meanSquaredError)
    #expect(nf4.byteCount == even.report.byteCount)
  }

  @Test func productsAndFilesOfCodebooks() throws {
    for codebook in Codebook.all {
      let matrix = try quantizer(codebook.name).quantize(weights([20, 50]), workers: workers).matrix
      let decoded = floats(try matrix.dequantize(workers: workers))
      let x = weights([3, 50], seed: 2)
      let y = floats(try matrix.matmul(x, workers: workers))
      for (index, value) in y.enumerated() {
        let row = index % 20
        let terms = zip(floats(x)[(index / 20 * 50)...], decoded[(row * 50)..<(row * 50 + 50)])
        #expect(abs(Double(value) - terms.reduce(0.0) { $0 + Double($1.0) * Double($1.1) }) < 1e-5)
      }
      let loose = try matrix.looseCodes(workers: workers)
      func again(_ codes: Tensor) throws -> PackedMatrix {
        try PackedMatrix(
          shape: matrix.shape, grid: matrix.grid, groupSize: matrix.groupSize, scales: matrix.scales, zeros: nil,
          looseCodes: codes, workers: workers)
      }
      #expect(floats(try again(loose).codes) == floats(matrix.codes))
      // Codes of NaN and infinity are no weights.
      if let foreign = codebook.levels.firstIndex(where: \.isNaN) {
        var codes = floats(loose).map { UInt8($0) }
        codes[30] = UInt8(foreign)
        #expect(failure { _ = try again(try Tensor(codes, shape: [20, 50])) }?.code == .outOfRange)
      }
    }
    #expect(failure { _ = try Grid(named: "nf4", bits: 8) }?.code == .outOfRange)
    #expect(failure { _ = try Grid(named: "nf5", bits: 4) }?.code == .unknownName)
  }
}

@Suite struct RangeSettingTests {
  private func report(_ name: String, _ range: String, _ weight: Tensor, _ more: [(name: String, value: Value)] = [])
    throws -> QuantizationReport
  {
    try quantizer(name, [("range", .text(range))] + more).quantize(weight, workers: workers).report
  }

  @Test func leastSquaresIsNeverWorseThanTheWholeRange() throws {
    let weight = weights([12, 200])
    for name in ["nf4", "fp4_e2m1", "fp8_e4m3"] {
      #expect(try report(name, "mse", weight).meanSquaredError <= report(name, "minmax", weight).meanSquaredError)
    }
    for bits in 2...8 {
      for symmetric in [true, false] {
        for granularity in ["tensor", "channel"] {
          let more: [(name: String, value: Value)] = [
            ("bits", .integer(bits)), ("symmetric", .boolean(symmetric)), ("granularity", .text(granularity)),
          ]
          let whole = try report("round_to_nearest", "minmax", weight, more).meanSquaredError
          let part = try report("round_to_nearest", "mse", weight, more).meanSquaredError
          #expect(part <= whole)
          if bits <= 4 { #expect(part < 0.97 * whole, "\(bits) bits") }
        }
      }
    }
  }

  /// The best of the hundred scales, by trying them all in the open.
  @Test func leastSquaresFindsTheBestFraction() throws {
    let weight = weights([1, 64])
    let grid = try Grid(.symmetric, bits: 3)
    let largest = floats(weight).map(abs).max()!
    let errors = (1...100).map { part -> Double in
      let scale = Double(largest) * Double(part) / 100 / 3
      return floats(weight).reduce(0) { sum, w in
        let level = max(-3, min(3, (Double(w) / scale).rounded(.toNearestOrEven)))
        return sum + (Double(w) - scale * level) * (Double(w) - scale * level)
      } / 64
    }
    let found = try RoundToNearest(grid: grid, granularity: .channel, range: .leastSquares)
      .quantize(weight, workers: workers).report.meanSquaredError
    #expect(abs(found - errors.min()!) < 1e-5 * found)
  }

  @Test func percentilesCutOutliers() throws {
    var values = floats(weights([1, 1000]))
    let largest = values.map(abs).max()!
    values[500] = 1000
    let weight = try Tensor(values, shape: [1, 1000])
    func scale(_ percentile: Double) throws -> Float {
      let method = try quantizer(
        "round_to_nearest", [("range", .text("percentile")), ("percentile", .real(percentile))])
      return floats(try method.quantize(weight, workers: workers).matrix.scales)[0]
    }
    #expect(abs(try scale(100) - 1000 / 127) < 1e-5)
    #expect(abs(try scale(99.9) - largest / 127) < 1e-6)
    #expect(try scale(50) < scale(99.9))
    for bad in [0.0, -1, 100.5] {
      #expect(failure { _ = try quantizer("round_to_nearest", [("percentile", .real(bad))]) }?.code == .outOfRange)
    }
  }

  @Test func threadsDoNotChangeBits() throws {
    let weight = weights([200, 700])
    let method = try quantizer("round_to_nearest", [("bits", .integer(3)), ("range", .text("mse"))])
    let results = try [1, 2, 5].map { try method.quantize(weight, workers: Workers(count: $0)).matrix }
    for other in results.dropFirst() { #expect(floats(other.scales) == floats(results[0].scales)) }
  }
}
