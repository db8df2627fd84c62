import TemperCore
import TemperGraph

extension Expression {
  /// The determinant of a matrix, (1, 1). Its derivative is the matrix of cofactors.
  func determinant() -> Expression {
    let size = shape[0]
    let curvature = ExternalFunction(name: "determinant", differentiable: [false, false]) {
      (inputs, outputs) throws(TemperError) in
      guard let target = outputs[1] else { return }
      let slopes = Determinant.cofactorsAlong(
        try inputs[1].array(of: Double.self), from: try inputs[0].array(of: Double.self), size)
      try target.assign(from: try Tensor(slopes, shape: target.shape))
    }
    let function = ExternalFunction(name: "determinant", differentiable: [true], curvatures: [curvature]) {
      (inputs, outputs) throws(TemperError) in
      let (value, cofactors) = Determinant.withCofactors(try inputs[0].array(of: Double.self), size)
      if let target = outputs[0] { try target.fill(value) }
      if outputs.count > 1, let gradient = outputs[1] {
        try gradient.assign(from: try Tensor(cofactors, shape: gradient.shape))
      }
    }
    return .external(function, [reshaped([1, size * size])])
  }
}

enum Determinant {
  /// The derivative of the cofactors along a direction D: that of the sum of D and the cofactors, which are symmetric in
  /// this, by the matrix. Cofactors are polynomials: six differences leave of them what rounding leaves. It needs no
  /// inverse, which a batch without one of the classes has not.
  static func cofactorsAlong(_ direction: [Double], from matrix: [Double], _ n: Int) -> [Double] {
    let size = matrix.map(abs).max() ?? 0, length = direction.map(abs).max() ?? 0
    guard length > 0 else { return [Double](repeating: 0, count: n * n) }
    let step = 1e-3 * (size > 0 ? size : 1) / length
    var slopes = [Double](repeating: 0, count: n * n)
    for (k, weight) in [(1.0, 45.0), (2, -9), (3, 1)] {
      for side in [1.0, -1] {
        let moved = zip(matrix, direction).map { $0 + side * k * step * $1 }
        let (_, cofactors) = withCofactors(moved, n)
        for index in slopes.indices { slopes[index] += side * weight / (60 * step) * cofactors[index] }
      }
    }
    return slopes
  }

  /// Elimination with complete pivoting: P A Q = L U. The last pivot alone may be 0 where cofactors are not, and it is
  /// never divided by: adj A = det P det Q Q adj(U) L^-1 P, cofactors are its transpose.
  static func withCofactors(_ matrix: [Double], _ n: Int) -> (value: Double, cofactors: [Double]) {
    var a = (0..<n).map { Array(matrix[($0 * n)..<(($0 + 1) * n)]) }
    // `left` becomes L^-1 P.
    var left = (0..<n).map { i in (0..<n).map { $0 == i ? 1.0 : 0 } }
    var (columns, sign) = (Array(0..<n), 1.0)
    for k in 0..<n {
      var (row, column) = (k, k)
      for i in k..<n { for j in k..<n where abs(a[i][j]) > abs(a[row][column]) { (row, column) = (i, j) } }
      if row != k {
        a.swapAt(row, k)
        left.swapAt(row, k)
        sign = -sign
      }
      if column != k {
        for i in 0..<n { a[i].swapAt(column, k) }
        columns.swapAt(column, k)
        sign = -sign
      }
      guard a[k][k] != 0 else { break }
      for i in (k + 1)..<max(n, k + 1) {
        let factor = a[i][k] / a[k][k]
        for j in k..<n { a[i][j] -= factor * a[k][j] }
        for j in 0..<n { left[i][j] -= factor * left[k][j] }
      }
    }
    let pivots = (0..<n).map { a[$0][$0] }
    let leading = pivots.dropLast().reduce(sign, *)
    let value = leading * (pivots.last ?? 1)
    guard leading != 0 else { return (value, [Double](repeating: 0, count: n * n)) }
    // X = adj(U) L^-1 P, up to the sign: U X = det U L^-1 P, whose last row needs no last pivot.
    var x = left
    for j in 0..<n {
      x[n - 1][j] = leading * left[n - 1][j]
      for i in stride(from: n - 2, through: 0, by: -1) {
        var rest = value * left[i][j]
        for k in (i + 1)..<n { rest -= a[i][k] * x[k][j] }
        x[i][j] = rest / pivots[i]
      }
    }
    var cofactors = [Double](repeating: 0, count: n * n)
    for (i, column) in columns.enumerated() { for j in 0..<n { cofactors[j * n + column] = x[i][j] } }
    return (value, cofactors)
  }
}
