import TemperCore
import TemperKernels

/// The directions of largest variance of rows about their mean.
package struct PrincipalComponents: Sendable {
  package let means: [Double]
  /// Orthonormal rows, largest variance first. Of each, the entry of largest size is positive.
  package let components: Matrix
  /// Along each (over N - 1).
  package let variances: [Double]

  /// The first `count` of them, at most min(rows, columns). From the eigenvectors of the covariance, or where there are
  /// fewer rows than columns from those of the rows' inner products: A Aᵀ u = λ u gives Aᵀ u / √λ.
  package init(_ rows: Matrix, count: Int, workers: Workers) throws(TemperError) {
    guard count >= 1, count <= Swift.min(rows.rows, rows.columns) else {
      throw TemperError(
        .outOfRange,
        "\(count) components were asked for; \(rows.rows) samples of \(rows.columns) features have \(Swift.min(rows.rows, rows.columns))."
      )
    }
    means = rows.means
    let a = try rows.shifted(by: means).tensor()
    let across = try a.permuted([1, 0])
    let isWide = rows.columns > rows.rows
    let side = Swift.min(rows.rows, rows.columns)
    let square = try Tensor(zeros: [side, side], .float64)
    try MatrixProduct.run(isWide ? a : across, isWide ? across : a, into: square, workers: workers)
    let eigen = try PrincipalComponents.eigen(square)
    let order = Array(ascendingOrder(eigen.values.map { -$0 }).prefix(count))
    var vectors = eigen.vectors.rows(order)
    if isWide {
      let mapped = try Tensor(zeros: [count, rows.columns], .float64)
      try MatrixProduct.run(try vectors.tensor(), a, into: mapped, workers: workers)
      vectors = try Matrix(mapped)
      for (row, at) in order.enumerated() {
        let length = eigen.values[at].squareRoot()
        for column in 0..<rows.columns { vectors[row, column] = length > 0 ? vectors[row, column] / length : 0 }
      }
    }
    for row in 0..<count {
      let largest = vectors[row].reduce(0) { abs($1) > abs($0) ? $1 : $0 }
      if largest < 0 { for column in 0..<rows.columns { vectors[row, column] = -vectors[row, column] } }
    }
    components = vectors
    variances = order.map { eigen.values[$0] / Double(Swift.max(rows.rows - 1, 1)) }
  }

  package init(means: [Double], components: Matrix, variances: [Double]) {
    (self.means, self.components, self.variances) = (means, components, variances)
  }

  /// Coordinates of rows along the components.
  package func project(_ rows: Matrix, workers: Workers) throws(TemperError) -> Matrix {
    let result = try Tensor(zeros: [rows.rows, components.rows], .float64)
    try MatrixProduct.run(
      try rows.shifted(by: means).tensor(), try components.tensor().permuted([1, 0]), into: result, workers: workers)
    return try Matrix(result)
  }

  /// Eigenvectors, as rows, and eigenvalues of a symmetric matrix without negative ones.
  private static func eigen(_ matrix: Tensor) throws(TemperError) -> (vectors: Matrix, values: [Double]) {
    let n = matrix.shape[0]
    let (vectors, values) = (try Tensor(zeros: [n, n], .float64), try Tensor(zeros: [n], .float64))
    unsafe temper_symmetric_eigen(
      matrix.pointer.assumingMemoryBound(to: Double.self), vectors.pointer.assumingMemoryBound(to: Double.self),
      values.pointer.assumingMemoryBound(to: Double.self), Int64(n))
    return (try Matrix(vectors), try values.array(of: Double.self).map { Swift.max($0, 0) })
  }
}
