import TemperCatalogue
import TemperGraph

extension Losses {
  static let regression = [meanSquaredError, meanAbsoluteError, huber]

  /// r^2, r = prediction - target.
  static let meanSquaredError = regressionLoss(
    "mse", aliases: ["mean_squared_error"], "The squared difference.", properties: ["smooth", "nonnegative"]
  ) { _, r in square(r) }

  /// |r|.
  static let meanAbsoluteError = regressionLoss(
    "mae", aliases: ["mean_absolute_error", "l1"], "The absolute difference.", properties: ["nonnegative"]
  ) { _, r in abs(r) }

  /// r^2 / 2 up to |r| = delta, delta (|r| - delta / 2) beyond. Huber, 1964.
  static let huber = regressionLoss(
    "huber", "Squared near 0, absolute far away.",
    Reference("Huber", 1964, "Robust Estimation of a Location Parameter"),
    [.real("delta", 1, in: .positive, "Where the parabola becomes a line.")], properties: ["nonnegative"]
  ) { x, r in
    let delta = x.real("delta")
    return .select(abs(r) .<= delta, 0.5 * square(r), delta * (abs(r) - 0.5 * delta))
  }

  /// A loss of r = prediction - target, element by element.
  static func regressionLoss(
    _ name: String, aliases: [String] = [], _ summary: String, _ reference: Reference? = nil,
    _ parameters: [Parameter] = [], properties: Set<String>,
    _ value: @escaping @Sendable (Formula, Expression) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .loss, area: "loss", summary: summary, reference: reference,
      parameters: parameters + [.elements],
      inputs: [
        Input("predictions", [.init(["N", "..."])], "What the model says."),
        Input("targets", [.init(["N", "..."])], "What it should say."),
      ],
      properties: properties,
      implementation: .loss { x in x.overElements(value(x, x["predictions"] - x["targets"])) })
  }
}
