import TemperCatalogue
import TemperCore
import TemperGraph

// Predictions are logarithms of means, mu = exp(f): every number is a valid prediction.

extension Losses {
  static let exponentialDispersion = [tweedie, gamma]

  /// mu^(2 - p) / (2 - p) - y mu^(1 - p) / (1 - p): the part of half the deviance that the prediction can change.
  static let tweedie = Method(
    "tweedie", aliases: ["tweedie_deviance"], kind: .loss, area: "loss",
    summary: "Amounts that are often exactly 0 (claims, rainfall): between Poisson (p near 1) and gamma (p near 2).",
    reference: Reference("Jorgensen", 1987, "Exponential Dispersion Models"),
    parameters: [
      .real(
        "p", 1.5, in: Interval(1, 2, includesLower: false, includesUpper: false),
        "The variance grows like the mean to this power."),
      .elements,
    ],
    inputs: [.logMeans, .observed("Amounts, 0 or more.", in: .nonNegative)], properties: ["smooth"],
    implementation: .loss { x in
      let (f, y, p) = (x["predictions"], x["targets"], x.real("p"))
      return x.overElements(exp((2 - p) * f) / (2 - p) - y * exp((1 - p) * f) / (1 - p))
    })

  /// k (y / mu + log mu) - k log k - (k - 1) log y + log Gamma(k).
  static let gamma = Method(
    "gamma", aliases: ["gamma_nll"], kind: .loss, area: "loss",
    summary: "The negative log-likelihood of positive amounts whose deviation grows with their mean.",
    reference: Reference("Nelder and Wedderburn", 1972, "Generalized Linear Models"),
    parameters: [.real("shape", 1, in: .positive, "The shape k; 1 is the exponential distribution."), .elements],
    inputs: [.logMeans, .observed("Amounts above 0.", in: .positive)], properties: ["smooth"],
    implementation: .loss { x in
      let (f, y, k) = (x["predictions"], x["targets"], x.real("shape"))
      let shape = Expression.constant(k)
      let constant = logGamma(shape) - k * log(shape)
      return x.overElements(k * (y * exp(-f) + f) - (k - 1) * log(y) + constant)
    })
}

extension Input {
  fileprivate static let logMeans = Input("predictions", [.init(["N", "..."])], "Logarithms of the means.")
  fileprivate static func observed(_ summary: String, in domain: Interval) -> Input {
    Input("targets", [.init(["N", "..."])], isDifferentiable: false, in: domain, summary)
  }
}
