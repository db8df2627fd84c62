import TemperCore
import TemperGraph

/// The real discrete Fourier transform along the last axis by products with matrices of cosines and sines: for the
/// lengths of token mixers and small images, and differentiable like every product.
struct RealDFT: Sendable {
  /// Longer axes would make larger matrices than the arrays themselves, and their angles would lose bits.
  static let maximumLength = 4096

  let length: Int
  /// Frequencies 0, ..., length / 2.
  var bins: Int { length / 2 + 1 }

  init(_ length: Int) throws(TemperError) {
    guard length <= RealDFT.maximumLength else {
      throw TemperError(
        .unsupported, "Axes of at most \(RealDFT.maximumLength) elements are transformed; \(length) came.")
    }
    self.length = length
  }

  /// 2 pi (t k mod n) / n, (n, bins): the remainder keeps the angle exact in float32 too.
  private var angles: Expression {
    let (t, k) = (Expression.iota([length, bins], axis: 0), Expression.iota([length, bins]))
    return remainder(t * k, .constant(Double(length))) * (2 * Double.pi / Double(length))
  }

  /// sum_t x_t exp(-2 pi i t k / n), (..., bins).
  func transform(_ x: Expression) -> (real: Expression, imaginary: Expression) {
    (.matmul(x, cos(angles)), -Expression.matmul(x, sin(angles)))
  }

  /// The signal of a spectrum: bins that have a mirrored partner count twice; what is imaginary at 0 and, for even n, at
  /// n / 2 has no effect.
  func inverse(_ real: Expression, _ imaginary: Expression) -> Expression {
    let k = Expression.iota([bins])
    let isAlone = (k .== 0) .| ((2 * k) .== Double(length))
    let weight = Expression.select(isAlone, .constant(1), .constant(2)) / Double(length)
    return .matmul(real * weight, cos(angles), transposeB: true)
      - .matmul(.select(isAlone, .constant(0), imaginary * weight), sin(angles), transposeB: true)
  }

  /// The signal with each frequency times a real factor (bins).
  func filtered(_ x: Expression, _ factors: Expression) -> Expression {
    let (real, imaginary) = transform(x)
    return inverse(real * factors, imaginary * factors)
  }
}
