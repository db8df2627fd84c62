import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let sparseCoding = [thresholding, thresholdingStep]

  /// soft: sign(u) max(|u| - t, 0). hard: u where |u| > sqrt(2 t). half: 0 up to 1.5 t^(2/3), beyond it
  /// (2 / 3) u (1 + cos((2 / 3) (pi - arccos((t / 4) (|u| / 3)^(-3/2))))). cel0: sign(u) min(|u|,
  /// max(|u| - sqrt(2 lam) t n, 0) / (1 - t n^2)), n the length of the atom.
  static let thresholding = Method(
    "sparse_coding_thresholds", kind: .op, area: "regularize",
    summary: "The proximal maps of the penalties l1, l0, l1/2 and CEL0.", reference: sparseCodingReference,
    parameters: [
      .penalty, .real("t", 0.1, in: .nonNegative, "The penalty's factor over the step; 1 over the step for cel0."),
      .real("lam", 0.1, in: .nonNegative, "The penalty's factor, for cel0."),
      .real("norm", 1, in: .nonNegative, "The length of the atom, for cel0."),
    ],
    inputs: [Input("x", [.init(["..."])], "Any array.")],
    implementation: .operation { x in
      threshold(x, x["x"], t: x.real("t"), norms: .constant(x.real("norm")))
    })

  /// T(a - (a D^T - s) D / step), t = lam / step (1 / step for cel0).
  static let thresholdingStep = Method(
    "sparse_coding_thresholds_step", aliases: ["sparse_coding_thresholds/step"], kind: .op, area: "regularize",
    summary: "One step of iterative thresholding on codes.", reference: sparseCodingReference,
    parameters: [
      .penalty, .real("lam", 0.1, in: .nonNegative, "The penalty's factor."),
      .real("step", 20, in: .positive, "At least the largest eigenvalue of D^T D."),
    ],
    inputs: [
      Input("codes", [.init(["N", "K"])], "A code for each signal."),
      Input("signals", [.init(["N", "D"])], "Signals."),
      Input("dictionary", [.init(["D", "K"])], "An atom in each column."),
    ],
    implementation: .operation { x in
      let (a, d, step) = (x["codes"], x["dictionary"], x.real("step"))
      let residual = Expression.matmul(a, d, transposeB: true) - x["signals"]
      let moved = a - Expression.matmul(residual, d) / step
      let t = x.text("penalty") == "cel0" ? 1 / step : x.real("lam") / step
      // An atom of zeros has no direction to grow in.
      let squares = square(d).sum(axis: 0), isZero = squares .== 0
      let norms = Expression.select(isZero, .constant(0), sqrt(.select(isZero, .constant(1), squares)))
      return threshold(x, moved, t: t, norms: norms)
    })

  private static let sparseCodingReference = Reference(
    "Rentzeperis, Calatroni, Perrinet and Prandi", 2023, "Beyond ell_1 sparse coding in V1", arXiv: "2301.10002")

  private static func threshold(_ x: Formula, _ u: Expression, t: Double, norms: Expression) -> Expression {
    let size = abs(u)
    switch x.text("penalty") {
    case "hard": return .select(size .> (2 * t).squareRoot(), u, .constant(0))
    case "half":
      let edge = 1.5 * pow(t, 2.0 / 3)
      let isOut = size .> edge
      let safe = Expression.select(isOut, size, .constant(max(edge, 1)))
      // arccos c = arctan(sqrt(1 - c^2) / c); c is at most 1 / sqrt 2 here.
      let c = maximum(t / 4 * pow(safe / 3, -1.5), 1e-30)
      let angle = atan(sqrt(maximum(1 - square(c), 0)) / c)
      return .select(isOut, 2.0 / 3 * u * (1 + cos(2.0 / 3 * (.pi - angle))), .constant(0))
    case "cel0":
      let reduced = relu(size - (2 * x.real("lam")).squareRoot() * t * norms)
      return sign(u) * minimum(size, reduced / (1 - t * square(norms)))
    default: return sign(u) * relu(size - t)
    }
  }

}

extension Parameter {
  fileprivate static let penalty = Parameter.choice(
    "penalty", ["soft", "hard", "half", "cel0"], "l1, l0, the root, or the continuous exact form of l0.")
}
