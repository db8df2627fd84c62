import TemperCore
import Testing

@testable import TemperNetworks

@Suite struct InitializerTests {
  struct Moments: Sendable {
    let name: String, mean: Double, variance: Double, largestSquare: Double
    init(_ name: String, mean: Double = 0, variance: Double, largestSquare: Double = .infinity) {
      (self.name, self.mean, self.variance, self.largestSquare) = (name, mean, variance, largestSquare)
    }
  }

  /// For fanIn 300 and fanOut 100.
  static let expected: [Moments] = [
    Moments("fan_in_uniform", variance: 1 / 900.0, largestSquare: 1 / 300.0),
    Moments("glorot_uniform", variance: 2 / 400.0, largestSquare: 6 / 400.0),
    Moments("glorot_normal", variance: 2 / 400.0),
    Moments("he_uniform", variance: 2 / 300.0, largestSquare: 6 / 300.0),
    Moments("he_normal", variance: 2 / 300.0),
    Moments("lecun_uniform", variance: 1 / 300.0, largestSquare: 3 / 300.0),
    Moments("lecun_normal", variance: 1 / 300.0),
    Moments("uniform", variance: 0.01 / 12, largestSquare: 0.0025),
    Moments("normal", variance: 0.0025),
    Moments("zeros", variance: 0, largestSquare: 0),
    Moments("ones", mean: 1, variance: 0, largestSquare: 1),
  ]

  @Test(arguments: expected) func moments(_ wanted: Moments) throws {
    let (name, mean, variance, largestSquare) = (wanted.name, wanted.mean, wanted.variance, wanted.largestSquare)
    let values = try filled(try Initializer(name), [100, 300], Random(seed: 5).stream(name))
    let n = Double(values.count)
    let average = values.reduce(0, +) / n
    let spread = values.reduce(0) { $0 + ($1 - average) * ($1 - average) } / n
    // Five standard errors of the mean; 4% on the variance is more than five of its own.
    #expect(abs(average - mean) <= 5 * (variance / n).squareRoot())
    #expect(abs(spread - variance) <= 0.05 * variance)
    let largest = values.map { abs($0) }.max()!
    #expect(largest * largest <= largestSquare * (1 + 1e-12))
    if largestSquare.isFinite { #expect(largest * largest >= 0.99 * largestSquare) }
  }

  @Test(arguments: [[6, 20], [20, 6], [5, 5]]) func orthogonalIs(sizes: [Int]) throws {
    let (rows, columns) = (sizes[0], sizes[1])
    let w = try filled(try Initializer("orthogonal", setting: .real(2)), Shape(sizes), Random(seed: 9))
    let short = min(rows, columns)
    for i in 0..<short {
      for j in 0..<short {
        let product = (0..<max(rows, columns)).reduce(0.0) { sum, k in
          sum + (rows <= columns ? w[i * columns + k] * w[j * columns + k] : w[k * columns + i] * w[k * columns + j])
        }
        #expect(abs(product - (i == j ? 4 : 0)) < 1e-12)
      }
    }
  }

  /// PyTorch's fans of a matrix: (out, in).
  private func filled(_ initializer: Initializer, _ shape: Shape, _ random: Random) throws -> [Double] {
    let tensor = try Tensor(zeros: shape, .float64)
    try initializer.fill(tensor, fanIn: shape[1], fanOut: shape[0], random: random)
    return try tensor.array(of: Double.self)
  }

  @Test func piecesMakeOneStream() throws {
    var random = Random(seed: 4)
    #expect(
      try filled(.normal(mean: 1, std: 2), [2, 50_000], Random(seed: 4)) == random.normals(100_000, mean: 1, std: 2))
  }

  @Test func normalsHaveNormalTails() {
    var random = Random(seed: 11)
    let values = random.normals(100_001, mean: 0, std: 1)
    let beyondTwo = Double(values.count { abs($0) > 2 }) / 100_001
    #expect(abs(beyondTwo - 0.0455) < 0.003)
    #expect(values.count == 100_001)
  }

  @Test func optionsAreRead() throws {
    #expect(try Initializer("normal", setting: .real(0.02)) == .normal(mean: 0, std: 0.02))
    #expect(try Initializer("uniform", setting: JSON(parsing: #"{"low": 1, "high": 2}"#)) == .uniform(low: 1, high: 2))
    #expect(throws: TemperError.self) { try Initializer("normal", setting: .real(-1)) }
  }
}
