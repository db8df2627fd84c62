import TemperCore
import Testing

@testable import TemperQuantization

/// Only half of the symmetric matrix is computed, in blocks of 512 columns.
@Suite struct InputStatisticsTests {
  @Test(arguments: [3, 512, 530]) func sumsOfProductsAndEnergies(columns n: Int) throws {
    let statistics = try InputStatistics(columns: n)
    let x = weights([5, n], scale: 1)
    // The whole is looked at, and then more inputs come.
    try statistics.add(try x.slice(0..<2), workers: workers)
    _ = statistics.gram
    try statistics.add(try x.slice(2..<5), workers: workers)
    let (inputs, gram) = (floats(x).map { Double($0) }, doubles(statistics.gram))
    for i in 0..<n {
      for j in [0, i / 2, i, (i + n) / 2, n - 1] {
        let expected = (0..<5).reduce(0.0) { $0 + inputs[$1 * n + i] * inputs[$1 * n + j] }
        #expect(abs(gram[i * n + j] - expected) <= 1e-13, "\(i), \(j)")
      }
    }
    let rows = weights([3, n], seed: 2, scale: 1)
    let values = doubles(try rows.copy(as: .float64))
    var expected = 0.0
    for row in 0..<3 {
      for sample in 0..<5 {
        let output = (0..<n).reduce(0.0) { $0 + values[row * n + $1] * inputs[sample * n + $1] }
        expected += output * output
      }
    }
    let energy = try statistics.energy(of: try rows.copy(as: .float64), workers: workers)
    #expect(abs(energy - expected) <= 1e-12 * expected)
  }
}
