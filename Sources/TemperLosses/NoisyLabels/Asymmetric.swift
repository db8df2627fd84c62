import TemperCatalogue
import TemperGraph

extension Losses {
  static let asymmetricFamily = [asymmetricGeneralized, asymmetricUnhinged, asymmetricExponential]

  /// ((a + 1)^q - (a + p_y)^q) / q.
  static let asymmetricGeneralized = asymmetricLoss(
    "asymmetric_gce", aliases: ["agce"], "A loss that only the most likely label minimises, whatever the noise.",
    [.real("a", 1, in: .positive, "The shift of the probability."), .real("q", 2, in: .positive, "The exponent.")]
  ) { x, p in
    let (a, q) = (x.real("a"), x.real("q"))
    return (pow(.constant(a + 1), q) - pow(a + p, q)) / q
  }

  /// ((a - p_y)^p - (a - 1)^p) / p.
  static let asymmetricUnhinged = asymmetricLoss(
    "asymmetric_unhinged", aliases: ["aul"], "A power of what the target's probability lacks.",
    [
      .real("a", 1.5, in: Interval(1, .infinity, includesLower: false), "What the probability is taken from."),
      .real("p", 0.9, in: .positive, "The exponent; 1 is 1 - p_y."),
    ]
  ) { x, probability in
    let (a, p) = (x.real("a"), x.real("p"))
    // The slope's power is enough for both: u^p = u u^(p - 1). u is above 0, but for rounding.
    let u = a - probability, power = pow(maximum(u, 1e-30), p - 1)
    return ((u * power - pow(.constant(a - 1), p)) / p).withSlopes([(by: probability, slope: -power)])
  }

  /// exp(-p_y / a).
  static let asymmetricExponential = asymmetricLoss(
    "asymmetric_exponential", aliases: ["ael"], "A falling exponential of the target's probability.",
    [.real("a", 2.5, in: .positive, "The scale of the probability.")]
  ) { x, p in exp(-p / x.real("a")) }

  private static func asymmetricLoss(
    _ name: String, aliases: [String], _ summary: String, _ parameters: [Parameter],
    _ value: @escaping @Sendable (Formula, Expression) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .loss, area: "noisy-labels", summary: summary,
      reference: Reference(
        "Zhou, Liu, Jiang, Gao and Ji", 2021, "Asymmetric Loss Functions for Learning with Noisy Labels",
        arXiv: "2106.03110"),
      parameters: parameters, inputs: [.logits, .targets], properties: ["smooth", "shift_invariant", "nonnegative"],
      implementation: .loss { x in
        x.targets.kind == .index
          ? value(x, x.probabilities.pick(x.targets)) : x.expectation(value(x, x.probabilities))
      })
  }
}
