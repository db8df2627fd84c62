import TemperCatalogue
import TemperGraph

/// p(s) = a s + b s^3 + c s^5, which five times over brings singular values in (0, 1] near 1. Jordan et al., 2024.
struct Quintic: Sendable {
  var a: Double, b: Double, c: Double
  static let muon = Quintic(a: 3.4445, b: -4.7750, c: 2.0315)
}

extension Expression {
  /// A matrix: all axes but the first together.
  var asMatrix: Expression { reshaped([shape[0], shape.sizes.dropFirst().reduce(1, *)]) }

  /// The nearest matrix with orthonormal rows or columns, nearly: X = M / (max(|M|, least) + eps), then X <- a X +
  /// (b A + c A^2) X with A = X X^T, on the shorter side.
  func orthogonalised(_ p: Quintic, steps: Int, eps: Double = 1e-7, least: Double = 0) -> Expression {
    let isTall = shape[0] > shape[1]
    var x = self / ((least == 0 ? norm(self) : TemperGraph.maximum(norm(self), least)) + eps)
    if isTall { x = x.transposed }
    for _ in 0..<steps {
      let square = Expression.matmul(x, x, transposeB: true)
      x = p.a * x + .matmul(p.b * square + p.c * .matmul(square, square), x)
    }
    return isTall ? x.transposed : x
  }
}
