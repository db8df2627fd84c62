import TemperCatalogue
import TemperGraph

extension Losses {
  static let regression = [
    meanSquaredError, meanAbsoluteError, huber, logCosh, quantile, tukey, cauchy, poisson, gaussian,
  ]

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

  /// log cosh r = |r| + log(1 + exp(-2 |r|)) - log 2.
  static let logCosh = regressionLoss(
    "log_cosh", "Squared near 0, absolute far away, smooth everywhere.", properties: ["nonnegative"]
  ) { _, r in abs(r) + softplus(-2 * abs(r)) - log(Expression.constant(2)) }

  /// max(q u, (q - 1) u), u = target - prediction. Koenker and Bassett, 1978.
  static let quantile = regressionLoss(
    "quantile", aliases: ["pinball"], "Zero slope at a quantile of the targets.",
    Reference("Koenker and Bassett", 1978, "Regression Quantiles"),
    [.real("q", 0.5, in: .unit, "Which quantile.")], properties: ["nonnegative"]
  ) { x, r in maximum(-x.real("q") * r, (1 - x.real("q")) * r) }

  /// c^2 / 6 (1 - (1 - (r / c)^2)^3) up to |r| = c, c^2 / 6 beyond. Beaton and Tukey, 1974.
  static let tukey = regressionLoss(
    "tukey_biweight", aliases: ["biweight"], "Outliers beyond c have no gradient at all.",
    Reference(
      "Beaton and Tukey", 1974,
      "The Fitting of Power Series, Meaning Polynomials, Illustrated on Band-Spectroscopic Data"),
    [.real("c", 4.685, in: .positive, "Where outliers begin.")], properties: ["nonnegative"]
  ) { x, r in
    let c = x.real("c")
    let inside = minimum(square(r / c), 1)
    return c * c / 6 * (1 - pow(1 - inside, 3))
  }

  /// c^2 / 2 log(1 + (r / c)^2).
  static let cauchy = regressionLoss(
    "cauchy", aliases: ["lorentzian"], "Grows like a logarithm.", nil,
    [.real("c", 1, in: .positive, "The scale.")], properties: ["smooth", "nonnegative"]
  ) { x, r in 0.5 * x.real("c") * x.real("c") * log1p(square(r / x.real("c"))) }

  /// exp(prediction) - target prediction: predictions are logarithms of rates; log target! is left out.
  static let poisson = Method(
    "poisson_nll", kind: .loss, area: "loss", summary: "The negative log-likelihood of counts.",
    parameters: [.elements],
    inputs: [
      Input("predictions", [.init(["N", "..."])], "Logarithms of the rates."),
      Input("targets", [.init(["N", "..."])], isDifferentiable: false, in: .nonNegative, "Counts, 0 or more."),
    ],
    properties: ["smooth"],
    implementation: .loss { x in x.overElements(exp(x["predictions"]) - x["targets"] * x["predictions"]) })

  /// (log v + (prediction - target)^2 / v) / 2, v = max(variance, eps) for the gradient of the mean, too.
  static let gaussian = Method(
    "gaussian_nll", kind: .loss, area: "loss",
    summary: "The negative log-likelihood of a normal with its own variance.",
    reference: Reference(
      "Nix and Weigend", 1994, "Estimating the mean and variance of the target probability distribution"),
    parameters: [.real("eps", 1e-6, in: .nonNegative, "The least variance."), .elements],
    inputs: [
      Input("predictions", [.init(["N", "..."])], "Means."),
      Input("targets", [.init(["N", "..."])], "What was observed."),
      Input("variances", [.init(["N", "..."])], in: .nonNegative, "Variances, 0 or more; at least eps counts."),
    ],
    implementation: .loss { x in
      // 1e-30 where eps is 0: at a variance of 0 it is infinite less infinite.
      let v = maximum(x["variances"], max(x.real("eps"), 1e-30))
      return x.overElements(0.5 * (log(v) + square(x["predictions"] - x["targets"]) / v))
    })

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
