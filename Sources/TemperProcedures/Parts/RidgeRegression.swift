import TemperCore

/// Least squares from sums over samples, which can be gathered batch by batch.
enum RidgeRegression {
  /// W with (G + ridge D) W = B by Cholesky, row-major: G (n, n) the sum of a a^T, B (n, k) that of a y^T, D the identity
  /// but for the last row, which is the offset's. nil where the matrix is not positive definite.
  static func solved(gram: [Double], cross: [Double], ridge: Double) -> [Double]? {
    let count = Int(Double(gram.count).squareRoot().rounded())
    let columns = cross.count / max(count, 1)
    var factor = gram
    for row in 0..<max(count - 1, 0) { factor[row * count + row] += ridge }
    for row in 0..<count {
      for column in 0...row {
        var value = factor[row * count + column]
        for k in 0..<column { value -= factor[row * count + k] * factor[column * count + k] }
        if row > column {
          factor[row * count + column] = value / factor[column * count + column]
        } else {
          guard value > 0 else { return nil }
          factor[row * count + row] = value.squareRoot()
        }
      }
    }
    var solution = cross
    for column in 0..<columns {
      for row in 0..<count {
        var value = solution[row * columns + column]
        for k in 0..<row { value -= factor[row * count + k] * solution[k * columns + column] }
        solution[row * columns + column] = value / factor[row * count + row]
      }
      for row in (0..<count).reversed() {
        var value = solution[row * columns + column]
        for k in row + 1..<count { value -= factor[k * count + row] * solution[k * columns + column] }
        solution[row * columns + column] = value / factor[row * count + row]
      }
    }
    return solution
  }
}
