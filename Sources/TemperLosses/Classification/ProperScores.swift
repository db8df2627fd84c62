import TemperCatalogue
import TemperGraph

extension Losses {
  static let scores = [brier, spherical, squaredHinge]

  /// sum_c (p_c - t_c)^2. Brier, 1950.
  static let brier = Method(
    "brier", aliases: ["brier_score"], kind: .loss, area: "loss",
    summary: "The squared distance of probabilities from the target.",
    reference: Reference("Brier", 1950, "Verification of Forecasts Expressed in Terms of Probability"),
    inputs: [.logits, .targets], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      guard x.targets.kind == .index else { return square(x.probabilities - x.targetProbabilities).sum() }
      // q = 1 - p_y is what the others have, without cancellation: q^2 + sum_{c != y} p_c^2. With
      // m = sum_c p_c (p_c - t_c) its slopes are 2 p_c (p_c - t_c - m).
      let e = exp(x.logits.shifted), own = e.pick(x.targets)
      let others = e + .place(-own, at: x.targets, columns: x.classes)
      let rest = others.sum(), scale = reciprocal(rest + own)
      let (py, q) = (own * scale, rest * scale)
      let squares = square(others).sum() * square(scale)
      let m = squares - q * py
      return (square(q) + squares).withSlopes([
        (by: x.logits, slope: others * (2 * square(scale) * others - 2 * scale * m)),
        (by: x.logits, slope: .place(-2 * (py * (q + m)), at: x.targets, columns: x.classes)),
      ])
    })

  /// 1 - sum_c t_c p_c / |p|.
  static let spherical = Method(
    "spherical", aliases: ["spherical_score"], kind: .loss, area: "loss",
    summary: "One minus the cosine-like score of the target's probability.",
    reference: Reference("Gneiting and Raftery", 2007, "Strictly Proper Scoring Rules, Prediction, and Estimation"),
    inputs: [.logits, .targets], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      // Any factor of p cancels: the largest exponential is 1, so that no square vanishes.
      let e = exp(x.logits.shifted)
      return 1 - x.expectation(e / sqrt(square(e).sum()))
    })

  /// max(0, margin + max_{j != y} z_j - z_y)^2.
  static let squaredHinge = Method(
    "squared_hinge", kind: .loss, area: "loss", summary: "The square of the hinge loss.", reference: hinge.reference,
    parameters: hinge.parameters, inputs: hinge.inputs, properties: ["shift_invariant", "nonnegative"],
    implementation: .loss { x in x.hinge(squared: true) })
}
