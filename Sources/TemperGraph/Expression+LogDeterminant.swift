import Glibc
import TemperCore

extension Expression {
  /// log det of a square matrix, (1, 1); NaN where the determinant is not positive. The slope is the transposed inverse,
  /// which comes from the same elimination; there are no second derivatives.
  ///
  /// weights (n, 1): of a matrix of independent blocks, in whatever order its rows are, the sum of w log det over the
  /// blocks; each row has the weight of its block.
  package func logDeterminant(weights: Expression? = nil) -> Expression {
    guard shape.rank == 2, shape[0] == shape[1], shape[0] > 0 else {
      return error != nil
        ? self : .invalid(.invalidShape, "logDeterminant: a square matrix is needed; \(shape) came.")
    }
    let n = shape[0]
    let both = Expression.custom(
      LogDeterminant.operation, [self] + (weights.map { [$0] } ?? []), shape: [n * n + 1]
    ).stopGradient
    let inverse = both.slice(1..<n * n + 1).reshaped([n, n]).permuted([1, 0])
    return both.slice(0..<1).reshaped([1, 1]).withSlopes([(self, weights.map { $0.stopGradient * inverse } ?? inverse)])
  }
}

private enum LogDeterminant {
  /// log det A, or the weighted sum over its blocks, then A^-1 row after row.
  static let operation = CustomOperation(name: "log_determinant") { (inputs, output, _) throws(TemperError) in
    let n = inputs[0].shape[0]
    let weights = inputs.count > 1 ? try inputs[1].array(of: Double.self) : [Double](repeating: 1, count: n)
    try output.assign(
      from: try Tensor(eliminate(try inputs[0].array(of: Double.self), n, weights), shape: output.shape))
  }

  /// Gauss and Jordan, with the largest pivot of each column, which lies in the column's block.
  static func eliminate(_ matrix: [Double], _ n: Int, _ weights: [Double]) -> [Double] {
    let width = 2 * n
    var a = [Double](repeating: 0, count: n * width)
    for row in 0..<n {
      for column in 0..<n { a[row * width + column] = matrix[row * n + column] }
      a[row * width + n + row] = 1
    }
    var (sum, isNegative) = (0.0, false)
    for k in 0..<n {
      var top = k
      for row in k..<n where Swift.abs(a[row * width + k]) > Swift.abs(a[top * width + k]) { top = row }
      if top != k {
        isNegative.toggle()
        for column in 0..<width { a.swapAt(k * width + column, top * width + column) }
      }
      let pivot = a[k * width + k]
      guard pivot != 0, pivot.isFinite else { return [Double](repeating: .nan, count: n * n + 1) }
      if pivot < 0 { isNegative.toggle() }
      sum += weights[k] * Glibc.log(Swift.abs(pivot))
      for column in k..<width { a[k * width + column] /= pivot }
      for row in 0..<n where row != k {
        let factor = a[row * width + k]
        if factor == 0 { continue }
        for column in k..<width { a[row * width + column] -= factor * a[k * width + column] }
      }
    }
    var result = [isNegative ? .nan : sum]
    for row in 0..<n { result += a[row * width + n..<(row + 1) * width] }
    return result
  }
}
