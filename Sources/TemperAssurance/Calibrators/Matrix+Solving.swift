import TemperCore
import TemperData
import TemperKernels

/// Small dense matrices: what the estimates of transition matrices need.
extension Matrix {
  func times(_ other: Matrix) -> Matrix {
    var result = Matrix(zeros: rows, other.columns)
    for i in 0..<rows {
      for k in 0..<columns {
        let left = self[i, k]
        for j in 0..<other.columns { result[i, j] += left * other[k, j] }
      }
    }
    return result
  }

  /// Eigenvectors, as rows, of a symmetric matrix: those of the same matrix moved to positive eigenvalues.
  var symmetricEigenvectors: Matrix? { eigen?.vectors }

  /// V and V⁻¹ with V V = this matrix, symmetric and positive definite; nil if it is not.
  var squareRoots: (root: Matrix, inverse: Matrix)? {
    guard let (vectors, values) = eigen, let most = values.max(), values.allSatisfy({ $0 > most * 1e-13 }) else {
      return nil
    }
    func power(_ p: (Double) -> Double) -> Matrix {
      var result = Matrix(zeros: rows, rows)
      for k in 0..<rows {
        let factor = p(values[k])
        for i in 0..<rows { for j in 0..<rows { result[i, j] += factor * vectors[k, i] * vectors[k, j] } }
      }
      return result
    }
    return (power { $0.squareRoot() }, power { 1 / $0.squareRoot() })
  }

  /// The square root of the least eigenvalue of this matrix times its transpose.
  var smallestSingularValue: Double {
    var square = Matrix(zeros: rows, rows)
    for i in 0..<rows { for j in 0..<rows { square[i, j] = zip(self[i], self[j]).reduce(0) { $0 + $1.0 * $1.1 } } }
    return Swift.max(square.eigen?.values.min() ?? 0, 0).squareRoot()
  }

  /// x with x A = b, by elimination with the largest pivot; nil where A is singular.
  func solvedFromLeft(_ b: [Double]) -> [Double]? {
    let n = rows
    // Rows of the transposed system with its right side.
    var system = (0..<n).map { row in (0..<n).map { self[$0, row] } + [b[row]] }
    for column in 0..<n {
      let pivot = (column..<n).reduce(column) { abs(system[$1][column]) > abs(system[$0][column]) ? $1 : $0 }
      guard abs(system[pivot][column]) > 1e-13 else { return nil }
      system.swapAt(column, pivot)
      for row in 0..<n where row != column {
        let factor = system[row][column] / system[column][column]
        if factor == 0 { continue }
        for at in column...n { system[row][at] -= factor * system[column][at] }
      }
    }
    return (0..<n).map { system[$0][n] / system[$0][$0] }
  }

  /// The kernel knows matrices without negative eigenvalues: by Gershgorin's bound none is left after the shift.
  private var eigen: (vectors: Matrix, values: [Double])? {
    guard values.allSatisfy(\.isFinite) else { return nil }
    let shift = (0..<rows).reduce(0.0) { most, i in Swift.max(most, self[i].reduce(0) { $0 + abs($1) }) }
    var a = self
    for i in 0..<rows {
      a[i, i] += shift
      for j in 0..<i { (a[i, j], a[j, i]) = ((a[i, j] + a[j, i]) / 2, (a[i, j] + a[j, i]) / 2) }
    }
    var (vectors, found) = (Matrix(zeros: rows, rows), [Double](repeating: 0, count: rows))
    unsafe temper_symmetric_eigen(&a.values, &vectors.values, &found, Int64(rows))
    return (vectors, found.map { $0 - shift })
  }
}
