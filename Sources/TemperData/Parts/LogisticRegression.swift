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
    let pass = try LogisticPass(hasBias ? x.withOnes : x, ridge: ridge, workers)
    var beta = try pass.fit(
      targets, shares ?? [Double](repeating: 1, count: x.rows),
      from: [Double](repeating: 0, count: x.columns + (hasBias ? 1 : 0)), iterations: iterations)
    if hasBias { bias = beta.removeLast() }
    weights = beta
  }

  /// w x + b of each row.
  package func scores(_ x: Matrix) -> [Double] {
    (0..<x.rows).map { row in
      (0..<x.columns).reduce(bias) { $0 + x.values[row * x.columns + $1] * weights[$1] }
    }
  }
}

/// The objective sum of share (log(1 + e^z) - t z) + ridge / 2 |beta|^2 of rows x, its gradient downhill and its
/// curvature, in memory that all steps share, and all fits to the same rows.
package final class LogisticPass {
  private let x: Tensor
  private let scaled: Tensor
  private let square: Tensor
  private var targets: [Double] = []
  private var shares: [Double] = []
  private let ridge: Double
  private let workers: Workers
  private var gradient: [Double]

  package init(_ x: Matrix, ridge: Double = 1e-4, _ workers: Workers) throws(TemperError) {
    self.x = try x.tensor()
    scaled = try Tensor(zeros: self.x.shape, .float64)
    square = try Tensor(zeros: [x.columns, x.columns], .float64)
    gradient = [Double](repeating: 0, count: x.columns)
    (self.ridge, self.workers) = (ridge, workers)
  }

  /// The beta of least objective, by Newton's method from another one.
  package func fit(
    _ targets: [Double], _ shares: [Double], from start: [Double], iterations: Int = 25
  ) throws(TemperError) -> [Double] {
    let rows = x.shape[0]
    precondition(targets.count == rows && shares.count == rows && start.count == x.shape[1])
    (self.targets, self.shares) = (targets, shares)
    var beta = start
    var value = run(beta)
    for _ in 0..<iterations {
      let (gradient, step) = (gradient, try newtonStep())
      // So near to the end the whole step leads there, and what it gains is lost in rounding.
      if zip(gradient, step).reduce(0, { $0 + $1.0 * $1.1 }) < 2e-10 * Double(rows) {
        for column in beta.indices { beta[column] += step[column] }
        break
      }
      // The whole step, or the largest half of a half that goes down.
      var length = 1.0
      var next = beta
      var nextValue = value
      while length > 1e-6 {
        next = zip(beta, step).map { $0 + length * $1 }
        nextValue = run(next)
        if nextValue < value { break }
        length /= 2
      }
      guard nextValue < value else { break }
      (beta, value) = (next, nextValue)
    }
    return beta
  }

  /// z = x beta of each row.
  package func scores(_ beta: [Double]) throws(TemperError) -> [Double] {
    let scores = try Tensor(zeros: [x.shape[0], 1], .float64)
    try MatrixProduct.run(x, try Tensor(beta, shape: [beta.count, 1]), into: scores, workers: workers)
    return try scores.array(of: Double.self)
  }

  /// The value at beta; the rest is then of there.
  private func run(_ beta: [Double]) -> Double {
    let value = x.logisticPass(targets, shares, beta, gradient: &gradient, scaled: scaled)
    for column in beta.indices { gradient[column] -= ridge * beta[column] }
    return value + beta.reduce(0) { $0 + $1 * $1 } * ridge / 2
  }

  /// H^-1 gradient, H = X^T diag(share p (1 - p)) X + ridge I.
  private func newtonStep() throws(TemperError) -> [Double] {
    try MatrixProduct.run(try scaled.permuted([1, 0]), x, into: square, workers: workers)
    var hessian = try Matrix(square)
    let width = hessian.columns
    // A column of zeros has no curvature of its own.
    for column in 0..<width { hessian[column, column] += max(ridge, 1e-12) }
    guard hessian.invert() else { return [Double](repeating: 0, count: width) }
    return (0..<width).map { row in zip(hessian[row], gradient).reduce(0) { $0 + $1.0 * $1.1 } }
  }
}

extension Matrix {
  /// With a column of ones, the last.
  package var withOnes: Matrix {
    var result: [Double] = []
    result.reserveCapacity(rows * (columns + 1))
    for row in 0..<rows {
      result += self[row]
      result.append(1)
    }
    return Matrix(result, rows: rows, columns: columns + 1)
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
