import TemperCatalogue
import TemperCore
import TemperGraph

/// The polynomial of ROOT's iteration for matrices of one shape.
extension Optimizers {
  /// Least squares of p(p(…p(s))) - 1 over the singular values s of sample matrices over their Frobenius norms, in a, b, c
  /// of p(s) = a s + b s^3 + c s^5, by Levenberg and Marquardt's damped Gauss-Newton steps from Muon's values.
  static let rootPolynomialFit = Method(
    "root_optimizer_fit_polynomial", aliases: ["root_fit_polynomial"], kind: .metric, area: "optim",
    summary: "Fits a, b and c of root_optimizer to sample matrices of a shape.", reference: root.reference,
    parameters: [.integer("steps", 5, in: 1...100, "Steps of the iteration.")],
    inputs: [Input("matrices", [.init(["N", "R", "K"])], "Momenta of the shape, or Gaussian matrices.")],
    implementation: .operation { x in
      let steps = x.integer("steps")
      let fit = CustomOperation(name: "polynomial fit") { (inputs, output, _) throws(TemperError) in
        let values = try MatrixFunctions.normalisedSingularValues(of: inputs[0])
        let quintic = Quintic.fitted(to: values, steps: steps)
        try output.assign(from: try Tensor([quintic.a, quintic.b, quintic.c]))
      }
      return .custom(fit, [x["matrices"]], shape: [3])
    })
}

extension Quintic {
  static func fitted(to values: [Double], steps: Int) -> Quintic {
    var (best, damping) = (Quintic.muon, 1e-3)
    var system = NormalEquations(best, values, steps)
    for _ in 0..<200 where damping < 1e12 {
      let step = system.solved(damping)
      let trial = Quintic(a: best.a - step[0], b: best.b - step[1], c: best.c - step[2])
      let next = NormalEquations(trial, values, steps)
      if next.error < system.error {
        let isDone = system.error - next.error <= 1e-14 * system.error
        (best, system, damping) = (trial, next, damping / 3)
        if isDone { break }
      } else {
        damping *= 4
      }
    }
    return best
  }
}

/// J^T J, J^T r and |r|^2 of r_i = p^steps(s_i) - 1 in (a, b, c).
private struct NormalEquations {
  private var matrix = [Double](repeating: 0, count: 9)
  private var right = [Double](repeating: 0, count: 3)
  private(set) var error = 0.0

  init(_ p: Quintic, _ values: [Double], _ steps: Int) {
    for value in values {
      var (s, slope) = (value, [0.0, 0.0, 0.0])
      for _ in 0..<steps {
        let square = s * s
        let derivative = p.a + square * (3 * p.b + 5 * p.c * square)
        slope = [
          s + derivative * slope[0], s * square + derivative * slope[1], s * square * square + derivative * slope[2],
        ]
        s *= p.a + square * (p.b + p.c * square)
      }
      let rest = s - 1
      error += rest * rest
      for i in 0..<3 {
        right[i] += slope[i] * rest
        for j in 0..<3 { matrix[3 * i + j] += slope[i] * slope[j] }
      }
    }
    // Where the iteration has run away, no step is to be taken.
    if !error.isFinite { error = .infinity }
  }

  /// (J^T J + damping diag(J^T J)) x = J^T r by Cramer's rule.
  func solved(_ damping: Double) -> [Double] {
    var m = matrix
    for i in 0..<3 { m[4 * i] = m[4 * i] * (1 + damping) + 1e-300 }
    func determinant(_ m: [Double]) -> Double {
      m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6]) + m[2] * (m[3] * m[7] - m[4] * m[6])
    }
    let whole = determinant(m)
    return (0..<3).map { column in
      var replaced = m
      for row in 0..<3 { replaced[3 * row + column] = right[row] }
      return determinant(replaced) / whole
    }
  }
}
