import Glibc
import TemperCore

/// P(1 | x) = 1 / (1 + exp(-(w x + b))), by Newton's method. The small ridge keeps the fit finite where the two sides can
/// be parted by a plane.
package struct LogisticRegression: Sendable {
  package private(set) var weights: [Double]
  package private(set) var bias = 0.0

  /// `targets` in [0, 1]; each row counts by its weight.
  package init(
    _ x: Matrix, _ targets: [Double], weights shares: [Double]? = nil, hasBias: Bool = true, ridge: Double = 1e-4,
    iterations: Int = 25, workers: Workers
  ) throws(TemperError) {
    let (rows, width) = (x.rows, x.columns + (hasBias ? 1 : 0))
    var whole = x
    if hasBias {
      var values: [Double] = []
      values.reserveCapacity(rows * width)
      for row in 0..<rows { values += x[row] + [1] }
      whole = Matrix(values, rows: rows, columns: width)
    }
    let shares = shares ?? [Double](repeating: 1, count: rows)
    let a = try whole.tensor()
    let square = try Tensor(zeros: [width, width], .float64)
    var beta = [Double](repeating: 0, count: width)
    var scores = [Double](repeating: 0, count: rows)
    var value = LogisticRegression.value(scores, targets, shares, beta, ridge)
    for _ in 0..<iterations {
      var gradient = beta.map { -ridge * $0 }
      var scaled = whole
      for row in 0..<rows {
        let p = 1 / (1 + exp(-scores[row]))
        let (error, curvature) = (shares[row] * (targets[row] - p), shares[row] * p * (1 - p))
        for column in 0..<width {
          gradient[column] += error * whole.values[row * width + column]
          scaled.values[row * width + column] *= curvature
        }
      }
      try MatrixProduct.run(try scaled.tensor().permuted([1, 0]), a, into: square, workers: workers)
      var hessian = try Matrix(square)
      for column in 0..<width { hessian[column, column] += ridge }
      let step = hessian.solved(gradient)
      // So near to the end the whole step leads there, and what it gains is lost in rounding.
      if zip(gradient, step).reduce(0, { $0 + $1.0 * $1.1 }) < 2e-10 * Double(rows) {
        for column in 0..<width { beta[column] += step[column] }
        break
      }
      // The whole step, or the largest half of a half that goes down.
      var length = 1.0
      var next = (beta: beta, scores: scores, value: value)
      while length > 1e-6 {
        next.beta = zip(beta, step).map { $0 + length * $1 }
        next.scores = (0..<rows).map { row in
          (0..<width).reduce(0.0) { $0 + whole.values[row * width + $1] * next.beta[$1] }
        }
        next.value = LogisticRegression.value(next.scores, targets, shares, next.beta, ridge)
        if next.value < value { break }
        length /= 2
      }
      let gain = value - next.value
      guard gain > 0 else { break }
      (beta, scores, value) = next
    }
    if hasBias { bias = beta.removeLast() }
    weights = beta
  }

  /// sum of share (log(1 + e^z) - t z) + ridge / 2 |beta|^2
  private static func value(
    _ scores: [Double], _ targets: [Double], _ shares: [Double], _ beta: [Double], _ ridge: Double
  ) -> Double {
    var sum = beta.reduce(0) { $0 + $1 * $1 } * ridge / 2
    for (row, z) in scores.enumerated() {
      sum += shares[row] * (max(z, 0) + log1p(exp(-abs(z))) - targets[row] * z)
    }
    return sum
  }

  /// w x + b of each row.
  package func scores(_ x: Matrix) -> [Double] {
    (0..<x.rows).map { row in
      (0..<x.columns).reduce(bias) { $0 + x.values[row * x.columns + $1] * weights[$1] }
    }
  }
}

extension Matrix {
  /// The solution of self s = right, for a symmetric positive definite matrix, by Cholesky's factors.
  package func solved(_ right: [Double]) -> [Double] {
    let factor = choleskyFactor
    var s = right
    for i in 0..<rows {
      for j in 0..<i { s[i] -= factor[i, j] * s[j] }
      s[i] /= factor[i, i]
    }
    for i in stride(from: rows - 1, through: 0, by: -1) {
      for j in (i + 1)..<max(rows, i + 1) { s[i] -= factor[j, i] * s[j] }
      s[i] /= factor[i, i]
    }
    return s
  }

  /// L with L Lᵀ = self, lower; a pivot that rounding left at or below 0 is taken for tiny.
  package var choleskyFactor: Matrix {
    var l = Matrix(zeros: rows, rows)
    for j in 0..<rows {
      var pivot = self[j, j]
      for k in 0..<j { pivot -= l[j, k] * l[j, k] }
      let root = max(pivot, 1e-12).squareRoot()
      l[j, j] = root
      for i in (j + 1)..<max(rows, j + 1) {
        var sum = self[i, j]
        for k in 0..<j { sum -= l[i, k] * l[j, k] }
        l[i, j] = sum / root
      }
    }
    return l
  }
}
