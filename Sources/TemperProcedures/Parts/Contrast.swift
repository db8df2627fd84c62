import TemperCore
import TemperGraph

extension Expression {
  /// Rows of Euclidean length 1; a row of zeros stays.
  var unitRows: Expression { self / sqrt(TemperGraph.maximum(square(self).sum(), 1e-24)) }

  /// NT-Xent of two views (B, D): of each row of one, how well its partner in the other stands out among all 2B - 1 other
  /// rows. Chen et al., 2020, arXiv 2002.05709.
  ///
  ///     mean_i -log (exp(z_i . z_i+ / t) / sum_{j != i} exp(z_i . z_j / t)),  z of length 1
  static func contrast(_ a: Expression, _ b: Expression, temperature: Double) -> Expression {
    let z = Expression.concatenate([a, b]).unitRows
    let (count, shape) = (Double(a.shape[0]), Shape([z.shape[0], z.shape[0]]))
    let (row, column) = (Expression.iota(shape, axis: 0), Expression.iota(shape, axis: 1))
    let likeness = Expression.matmul(z, z, transposeB: true) / temperature
    let shares = Expression.select(row .== column, .constant(-1e30), likeness).logSoftmax()
    let isPartner = abs(row - column) .== count
    return -Expression.select(isPartner, shares, .constant(0)).sum().meanAll()
  }
}
