import TemperCatalogue
import TemperGraph

extension Losses {
  static let classification = [crossEntropy, binaryCrossEntropy, focal, poly1, maxSuppression, zLoss, cutCrossEntropy]

  /// -sum_c w_c t_c log p_c with targets smoothed to (1 - s) t + s / C. For class ids that is
  /// (1 - s) w_y (L - z_y) + (s / C) sum_c w_c (L - z_c), L = log sum exp z.
  /// Smoothing: Szegedy et al., 2016, arXiv 1512.00567.
  static let crossEntropy = Method(
    "cross_entropy", kind: .loss, area: "loss",
    summary: "The negative log-likelihood of the targets under softmax(logits).",
    reference: Reference(
      "Szegedy, Vanhoucke, Ioffe, Shlens and Wojna", 2016,
      "Rethinking the Inception Architecture for Computer Vision", arXiv: "1512.00567"),
    parameters: [
      .real("label_smoothing", 0, in: .unit, "The share of every target that is spread over all classes."),
      .integer("ignore_index", -100, "Class ids with this value give 0 and leave the mean's denominator."),
    ],
    inputs: [
      .logits, .targets, .classWeights,
    ],
    properties: ["smooth", "shift_invariant"],
    implementation: .loss { x in
      let s = x.real("label_smoothing")
      let nll = x.logits.logSumExp() - x.logits
      let weighted = x.has("class_weights") ? x["class_weights"] * nll : nll
      let likely =
        x.has("class_weights") || x.targets.kind == .real ? x.expectation(weighted) : -x.logProbability
      return s == 0 ? likely : (1 - s) * likely + s * weighted.mean()
    })

  /// t softplus(-z) + (1 - t) softplus(z) = max(z, 0) - z t + log(1 + exp(-|z|)), over the elements of a sample.
  static let binaryCrossEntropy = Method(
    "binary_cross_entropy_with_logits", aliases: ["binary_cross_entropy", "bce_with_logits", "bce"], kind: .loss,
    area: "loss",
    summary: "The negative log-likelihood of independent yes-or-no targets under sigmoid(logits).",
    parameters: [.elements],
    inputs: [
      Input("logits", [.init(["N", "..."])], "Scores before the sigmoid."),
      Input("targets", [.init(["N", "..."])], isDifferentiable: false, "0 or 1, or a probability."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let (z, t) = (x.logits, x.targets)
      // A logit of -inf (a mask) with target 0 costs nothing.
      let agreed = Expression.select(t .== 0, .constant(0), z * t)
      return x.overElements(softplus(z) - agreed)
    })

  /// -alpha (1 - p_y)^gamma log p_y. Lin et al., 2017, arXiv 1708.02002.
  static let focal = Method(
    "focal", aliases: ["focal_loss"], kind: .loss, area: "loss",
    summary: "Cross-entropy that turns away from samples which are already right.",
    reference: Reference(
      "Lin, Goyal, Girshick, He and Dollar", 2017, "Focal Loss for Dense Object Detection", arXiv: "1708.02002"),
    parameters: [
      .real("gamma", 2, in: .nonNegative, "0 is cross-entropy; larger looks at hard samples only."),
      .real("alpha", 1, in: .nonNegative, "A factor for all classes."),
    ],
    inputs: [.logits, .targets], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let gamma = x.real("gamma")
      if x.targets.kind == .index {
        return x.real("alpha") * focalValue(x.logProbability, gamma)
      }
      return x.real("alpha") * x.expectation(focalValue(x.logProbabilities, gamma))
    })
}

/// (1 - p)^gamma from log p. Where p rounds to 1 it is 0, without the infinite slope that a fraction would have.
func oneMinusProbability(_ logProbability: Expression, to gamma: Double) -> Expression {
  if gamma == 0 { return .constant(1, logProbability.shape) }
  let rest = -expm1(logProbability)
  if gamma >= 1 { return pow(rest, gamma) }
  return .select(rest .<= 0, .constant(0), pow(.select(rest .<= 0, .constant(1), rest), gamma))
}

/// -(1 - p)^gamma log p. For gamma < 1 with its slope by log p, gamma p (1 - p)^(gamma - 1) log p - (1 - p)^gamma, whose
/// limit where p is 1 is 0: so it is with a 1 - p that is very small in place of 0.
func focalTerm(_ logProbability: Expression, _ gamma: Double) -> Expression {
  if gamma == 0 || gamma >= 1 { return -(oneMinusProbability(logProbability, to: gamma) * logProbability) }
  let less = expm1(logProbability)
  let rest = maximum(-less, 1e-30)
  let power = pow(rest, gamma)
  let slope = gamma * ((less + 1) * logProbability) / (gamma == 0.5 ? power : pow(rest, 1 - gamma)) - power
  return (-(power * logProbability)).withSlopes([(by: logProbability, slope: slope)])
}

/// -(1 - p)^gamma log p; -log p where p is 0, with the slope of that, also where twice log p has no float32.
func focalValue(_ logProbability: Expression, _ gamma: Double) -> Expression {
  let isImpossible = logProbability .< -1e30
  let near = Expression.select(isImpossible, .constant(-1), logProbability)
  return -Expression.select(isImpossible, logProbability, oneMinusProbability(near, to: gamma) * near)
}
