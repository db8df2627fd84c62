import Foundation
import TemperKernels
import Testing

/// Passes of fits and the inverse, against the same in plain loops.
@Suite struct FitTests {
  static let counts = [1, 2, 7, 63, 64, 65, 200]

  @Test(arguments: counts)
  func sharesOfTwoNormals(_ count: Int) {
    var numbers = Numbers(count)
    let values = (0..<count).map { _ in numbers.between(-3, 40) }
    let (offsets, factors, means) = ([-0.3, -1.2], [-0.5, -0.1], [0.2, 3.0])
    var shares = [Double](repeating: .nan, count: 2 * count)
    let total = temper_two_normals(&shares, values, Int64(count), offsets, factors, means)
    var (expected, sum) = ([Double](), 0.0)
    for x in values {
      let logs = (0..<2).map { offsets[$0] + factors[$0] * (x - means[$0]) * (x - means[$0]) }
      let top = logs.max()!
      let whole = top + log(logs.reduce(0) { $0 + exp($1 - top) })
      expected += logs.map { exp($0 - whole) }
      sum += whole
    }
    #expect(largestError(shares, expected) < 1e-13)
    #expect(abs(total - sum) < 1e-12 * (1 + abs(sum)))

    var sums = [Double](repeating: .nan, count: 6)
    temper_share_moments(&sums, shares, values, Int64(count), means)
    let moments = (0..<2).flatMap { k in
      (0..<3).map { power in
        values.indices.reduce(0.0) { $0 + shares[2 * $1 + k] * pow(values[$1] - means[k], Double(power)) }
      }
    }
    #expect(largestError(sums, moments) < 1e-12)
  }

  @Test(arguments: counts)
  func passesOfLogisticRegression(_ rows: Int) {
    let width = 1 + rows % 19
    var numbers = Numbers(rows + 1)
    let x = (0..<rows * width).map { _ in numbers.between(-2, 2) }
    let beta = (0..<width).map { _ in numbers.between(-3, 3) }
    let targets = (0..<rows).map { _ in numbers.between(0, 1) }
    let shares = (0..<rows).map { _ in numbers.between(0, 2) }
    var (gradient, scaled) = ([Double](repeating: .nan, count: width), [Double](repeating: .nan, count: rows * width))
    let total = temper_logistic_pass(&gradient, &scaled, x, targets, shares, beta, Int64(rows), Int64(width))
    var (value, slopes, products) = (0.0, [Double](repeating: 0, count: width), [Double]())
    for row in 0..<rows {
      let own = x[row * width..<(row + 1) * width]
      let z = zip(own, beta).reduce(0) { $0 + $1.0 * $1.1 }
      let p = 1 / (1 + exp(-z))
      value += shares[row] * (max(z, 0) + log1p(exp(-abs(z))) - targets[row] * z)
      for (column, number) in own.enumerated() { slopes[column] += shares[row] * (targets[row] - p) * number }
      products += own.map { shares[row] * p * (1 - p) * $0 }
    }
    #expect(abs(total - value) < 1e-12 * (1 + value))
    #expect(largestError(gradient, slopes) < 1e-12)
    #expect(largestError(scaled, products) < 1e-12)
  }

  @Test(arguments: [1, 2, 5, 17, 64])
  func inverses(_ n: Int) {
    var numbers = Numbers(n + 2)
    let a = (0..<n * n).map { _ in numbers.between(-1, 1) }
    var (inverse, pivots, logDeterminant) = (a, [Int32](repeating: 0, count: n), 0.0)
    var hasInverse = temper_inverse(&inverse, Int64(n), nil, &pivots, &logDeterminant)
    #expect(hasInverse)
    var identity = [Double](repeating: 0, count: n * n)
    for i in 0..<n { for j in 0..<n { for k in 0..<n { identity[i * n + j] += a[i * n + k] * inverse[k * n + j] } } }
    #expect(largestError(identity, (0..<n * n).map { $0 % (n + 1) == 0 ? 1 : 0 }) < 1e-8)
    // Blocks in any order: rows and columns 0, 2 belong together, and 1 alone.
    var (blocks, weights) = ([2.0, 0, 1, 0, 5, 0, 1, 0, 3], [3.0, 0.5, 3])
    var three = [Int32](repeating: 0, count: 3)
    hasInverse = temper_inverse(&blocks, 3, &weights, &three, &logDeterminant)
    #expect(hasInverse && abs(logDeterminant - (3 * log(5.0) + 0.5 * log(5.0))) < 1e-12)
    #expect(largestError(blocks, [0.6, 0, -0.2, 0, 0.2, 0, -0.2, 0, 0.4]) < 1e-12)
    for (signs, expected) in [([-1.0, -2], log(2.0)), ([-1, 2], .nan), ([1, 2], log(2.0))] {
      var (diagonal, two) = ([signs[0], 0, 0, signs[1]], [Int32](repeating: 0, count: 2))
      hasInverse = temper_inverse(&diagonal, 2, nil, &two, &logDeterminant)
      #expect(hasInverse && (expected.isNaN ? logDeterminant.isNaN : abs(logDeterminant - expected) < 1e-15))
    }
    var (singular, negative) = ([1.0, 2, 2, 4], [0.0, 1, 1, 0])
    var two = [Int32](repeating: 0, count: 2)
    hasInverse = temper_inverse(&singular, 2, nil, &two, &logDeterminant)
    #expect(!hasInverse)
    hasInverse = temper_inverse(&negative, 2, nil, &two, &logDeterminant)
    #expect(hasInverse && logDeterminant.isNaN && negative == [0, 1, 1, 0])
  }

  @Test func sumsAlongEdges() {
    let now: [Double] = [1, 2, 3, 4, 5, 6]
    var next = [Double](repeating: 10, count: 6)
    temper_edges_add(&next, now, [0, 2, 2, 1], [0.5, 2], 2, 2)
    #expect(next == [12.5, 13, 20, 22, 16.5, 19])
  }
}
