import TemperCatalogue
import TemperGraph

extension Losses {
  static let bandLimited = [bandLimitedTarget, bandLimitedPoints, bandLimitedTransfer]

  /// Critic by critic f = sum_k c_k Q(s, a + delta_k), of these the least; with rewards r + gamma (f - alpha log pi).
  static let bandLimitedTarget = Method(
    "bandlimited_target", aliases: ["input_smooth"], kind: .op, area: "online",
    summary: "A critic's value smoothed over actions, as the target of learning: high frequencies fade.",
    reference: bandLimitedReference,
    parameters: [
      .real("gamma", 0.99, in: .unit, "The discount of what follows."),
      .real("alpha", 0, in: .nonNegative, "The factor of the policy's entropy."),
    ],
    inputs: [
      Input(
        "values", [.init(["N", "K"]), .init(["S", "N", "K"])],
        "Values at the points of bandlimited_target_points, by sample; of one critic or of several."),
      Input(
        "weights", aliases: ["stencil"], [.init(["K"])], isOptional: true, isDifferentiable: false,
        "A weight for each point; without it (1/4, 1/2, 1/4) along every dimension."),
      Input("rewards", [.init(["N"])], isOptional: true, "What the step earned; without it the smoothed value itself."),
      Input(
        "log_probs", [.init(["N"])], isOptional: true, "The policy's log-probability of the next action."),
    ],
    implementation: .operation { x in
      let values = x["values"]
      let count = values.shape.last
      let weights = x.has("weights") ? x["weights"] : Expression.binomialWeights(count)
      if let error = weights.error { return .invalid(error) }
      let smooth = (values * weights).sum().squeezed()
      let least = smooth.shape.rank == 1 ? smooth : smooth.minimum(axis: 0).squeezed(0)
      guard x.has("rewards") else { return least }
      let n = least.shape[0]
      let entropy = x.has("log_probs") ? x.real("alpha") * x["log_probs"].reshaped([n]) : .zeros([n])
      return x["rewards"].reshaped([n]) + x.real("gamma") * (least - entropy)
    })

  /// a + delta (k_1, …, k_D), every k_d of -1, 0, 1, the last dimension fastest; with noise a + delta z and a - delta z.
  /// Points outside [low, high] are moved to the border.
  static let bandLimitedPoints = Method(
    "bandlimited_target_points", aliases: ["bandlimited_target/points"], kind: .op, area: "online",
    summary: "The actions at which a critic is asked, so that its values can be smoothed.",
    reference: bandLimitedReference,
    parameters: [
      .real("delta", 0.1, in: .positive, "The distance between points; the deviation of the noise."),
      .real("low", -1, "The least action."), .real("high", 1, "The largest action."),
    ],
    inputs: [
      Input("actions", [.init(["N", "D"])], "An action for each sample."),
      Input(
        "noise", [.init(["M", "D"])], isOptional: true, isDifferentiable: false,
        "Standard normal draws, for many dimensions; each is used with both signs and weight 1 / 2M."),
    ],
    implementation: .operation { x in
      let actions = x["actions"]
      let d = actions.shape[1]
      var offsets: Expression
      if x.has("noise") {
        offsets = .concatenate([x["noise"], -x["noise"]])
      } else {
        guard d <= 8 else {
          return .invalid(.unsupported, "\(d) dimensions have 3^\(d) points; pass noise instead.")
        }
        let count = (0..<d).reduce(1) { power, _ in 3 * power }
        // The digits of the point's number to base 3, less 1.
        let digits = (0..<d).map { at -> Expression in
          let place = (at + 1..<d).reduce(1.0) { power, _ in 3 * power }
          return remainder(floor(.iota([count, 1], axis: 0) / place), .constant(3)) - 1
        }
        offsets = .concatenate(digits, axis: 1)
      }
      offsets = x.real("delta") * offsets
      return clamp(actions.expanded(1) + offsets.expanded(0), x.real("low"), x.real("high"))
    })

  /// C(w) = sum_k c_k cos(w delta_k), delta_k = (k - (K - 1) / 2) delta: what smoothing makes of cos(w a).
  static let bandLimitedTransfer = Method(
    "bandlimited_target_transfer", aliases: ["bandlimited_target/transfer"], kind: .op, area: "online",
    summary: "What is left of each frequency after smoothing by a symmetric stencil.",
    reference: bandLimitedReference,
    parameters: [.real("delta", 0.1, in: .positive, "The distance between points.")],
    inputs: [
      Input("frequencies", [.init(["N"])], "Frequencies."),
      Input(
        "weights", aliases: ["stencil"], [.init(["K"])], isOptional: true,
        "Weights along one dimension; (1/4, 1/2, 1/4) without it."),
    ],
    properties: ["smooth"],
    implementation: .operation { x in
      let weights = x.has("weights") ? x["weights"] : Expression.binomialWeights(3)
      let count = weights.shape[0]
      let offsets = x.real("delta") * (Expression.iota([1, count]) - Double(count - 1) / 2)
      return (weights * cos(x["frequencies"] * offsets)).sum().squeezed()
    })

  private static let bandLimitedReference = Reference(
    "Campo, Chen, Kung, Huang and Kuo", 2020, "Band-limited Soft Actor Critic Model", arXiv: "2006.11431")
}

extension Expression {
  /// Products of (1/4, 1/2, 1/4) over the digits of the point's number to base 3; `count` is a power of 3.
  fileprivate static func binomialWeights(_ count: Int) -> Expression {
    var (weights, reached) = (Expression.constant(1, [count]), 1)
    while reached < count {
      let digit = remainder(floor(.iota([count]) / Double(reached)), .constant(3))
      weights = weights * .select(digit .== 1, .constant(0.5), .constant(0.25))
      reached *= 3
    }
    return reached == count
      ? weights
      : .invalid(.invalidShape, "Without weights there must be 3, 9, 27, … points, three by dimension; \(count) came.")
  }
}
