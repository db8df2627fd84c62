import TemperCatalogue
import TemperCore

extension Optimizers {
  static let gradientNormalizedNewton = Method(
    "gradient_normalized_newton", kind: .optimizer, area: "optim",
    summary: "Newton's method with a regulariser that follows the gradient's norm and an adaptive radius.",
    reference: Reference(title: "Gradient-Normalized Smoothness for Optimization with Approximate Hessians"),
    parameters: [
      .choice(
        "hessian", ["difference", "secant", "zero"],
        "From differences of gradients, one for each coordinate; from the gradients of the steps (BFGS); or none."),
      .real("gamma0", 1, in: .positive, "The first radius."),
      .real("gamma_min", 1e-9, in: .positive, "The least radius."),
      .real("growth", 2, in: Interval(1, .infinity), "The radius grows by this after a step that was accepted."),
      .real("shrink", 0.5, in: Interval(0, 1, includesLower: false, includesUpper: false), "And shrinks by this else."),
      .integer("max_tries", 40, in: 1...1000, "Radii that are tried in one step."),
      .real("eps", 1e-8, in: .positive, "Added to the radius."),
      .real("difference", 1e-5, in: .positive, "How far apart gradients of a difference are taken."),
    ],
    implementation: .search { x in GradientNormalizedNewton(x) })
}

/// d = -(H + lambda I)^-1 g with lambda = |g| / (gamma + eps), accepted where f(x) - f(x + d) >= |g'|^2 / (8 lambda); then
/// gamma grows, else it shrinks and the step is tried again.
final class GradientNormalizedNewton: PointSearch {
  private let hessian: String
  private let (least, growth, shrink, eps, difference): (Double, Double, Double, Double, Double)
  private let tries: Int
  private var gamma: Double
  /// BFGS's matrix, with the gradient and the move that the next difference is taken from.
  private var secant: [Double] = [], lastGradient: [Double] = [], lastMove: [Double] = []

  init(_ x: Arguments) {
    hessian = x.text("hessian")
    (least, growth, shrink) = (x.real("gamma_min"), x.real("growth"), x.real("shrink"))
    (eps, difference, tries, gamma) = (x.real("eps"), x.real("difference"), x.integer("max_tries"), x.real("gamma0"))
  }

  func step(
    _ point: inout [Double], learningRate: Double,
    _ measure: (_ point: [Double], _ gradient: inout [Double]) throws(TemperError) -> Double
  ) throws(TemperError) {
    let n = point.count
    guard n <= 2000 || hessian == "zero" else {
      throw TemperError(.unsupported, "The matrix of \(n) parameters is too large; at most 2000, or hessian \"zero\".")
    }
    var gradient: [Double] = []
    let loss = try measure(point, &gradient)
    let size = inner(gradient, gradient).squareRoot()
    guard size > 0, size.isFinite else { return }
    let matrix = try curvature(point, gradient, measure)
    let before = gamma
    for _ in 0..<tries {
      let lambda = size / (gamma + eps)
      if let move = solve(matrix, lambda, gradient) {
        let trial = zip(point, move).map { $0 - $1 }
        var slopes: [Double] = []
        let value = try measure(trial, &slopes)
        if loss - value >= inner(slopes, slopes) / (8 * lambda) {
          (lastMove, lastGradient) = (move.map { -$0 }, gradient)
          point = trial
          gamma = max(growth * gamma, least)
          return
        }
      }
      gamma *= shrink
    }
    // Nothing but rounding is left to gain here.
    gamma = before
  }

  /// H, symmetric, row by row; empty for none.
  private func curvature(
    _ point: [Double], _ gradient: [Double],
    _ measure: (_ point: [Double], _ gradient: inout [Double]) throws(TemperError) -> Double
  ) throws(TemperError) -> [Double] {
    let n = point.count
    switch hessian {
    case "difference":
      var columns = [Double](repeating: 0, count: n * n)
      for i in 0..<n {
        var (ahead, behind): ([Double], [Double]) = ([], [])
        let h = difference * max(1, abs(point[i]))
        var moved = point
        moved[i] = point[i] + h
        _ = try measure(moved, &ahead)
        moved[i] = point[i] - h
        _ = try measure(moved, &behind)
        for j in 0..<n { columns[i * n + j] = (ahead[j] - behind[j]) / (2 * h) }
      }
      for i in 0..<n {
        for j in 0..<i {
          let mean = (columns[i * n + j] + columns[j * n + i]) / 2
          (columns[i * n + j], columns[j * n + i]) = (mean, mean)
        }
      }
      return columns
    case "secant":
      updateSecant(gradient)
      return secant
    default: return []
    }
  }

  /// B <- B - B s s^T B / s^T B s + y y^T / y^T s, from y^T y / y^T s times the identity on.
  private func updateSecant(_ gradient: [Double]) {
    let n = gradient.count
    guard lastMove.count == n else { return }
    let (s, y) = (lastMove, zip(gradient, lastGradient).map { $0 - $1 })
    let curvature = inner(y, s)
    guard curvature > 1e-12 * (inner(y, y) * inner(s, s)).squareRoot() else { return }
    if secant.isEmpty {
      secant = [Double](repeating: 0, count: n * n)
      for i in 0..<n { secant[i * (n + 1)] = inner(y, y) / curvature }
    }
    var product = [Double](repeating: 0, count: n)
    for i in 0..<n { for j in 0..<n { product[i] += secant[i * n + j] * s[j] } }
    let along = inner(product, s)
    for i in 0..<n {
      for j in 0..<n { secant[i * n + j] += y[i] * y[j] / curvature - product[i] * product[j] / along }
    }
  }

  /// (H + lambda I)^-1 g by Cholesky; nil where the matrix is not positive definite.
  private func solve(_ matrix: [Double], _ lambda: Double, _ g: [Double]) -> [Double]? {
    let n = g.count
    if matrix.isEmpty { return g.map { $0 / lambda } }
    var l = matrix
    for i in 0..<n { l[i * (n + 1)] += lambda }
    for i in 0..<n {
      for j in 0...i {
        var sum = l[i * n + j]
        for k in 0..<j { sum -= l[i * n + k] * l[j * n + k] }
        if i == j {
          guard sum > 0 else { return nil }
          l[i * n + i] = sum.squareRoot()
        } else {
          l[i * n + j] = sum / l[j * n + j]
        }
      }
    }
    var x = g
    for i in 0..<n {
      for k in 0..<i { x[i] -= l[i * n + k] * x[k] }
      x[i] /= l[i * n + i]
    }
    for i in stride(from: n - 1, through: 0, by: -1) {
      for k in i + 1..<max(n, i + 1) { x[i] -= l[k * n + i] * x[k] }
      x[i] /= l[i * n + i]
    }
    return x
  }

  var state: [(name: String, values: [Double])] {
    [("gamma", [gamma]), ("secant", secant), ("last_gradient", lastGradient), ("last_move", lastMove)]
  }

  func load(_ state: [(name: String, values: [Double])]) throws(TemperError) {
    let given = Dictionary(state.map { ($0.name, $0.values) }) { $1 }
    guard state.count == 4, let gamma = given["gamma"], gamma.count == 1, let secant = given["secant"],
      let slope = given["last_gradient"], let move = given["last_move"], slope.count == move.count,
      secant.isEmpty || secant.count == slope.count * slope.count
    else { throw TemperError(.invalidArgument, "This is no state of gradient_normalized_newton.") }
    (self.gamma, self.secant, lastGradient, lastMove) = (gamma[0], secant, slope, move)
  }
}
