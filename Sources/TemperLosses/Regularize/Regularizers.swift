import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let regularizers = [attentionEntropy, environmentSmoothing]

  /// E = -(1 / T) sum_ij A ln(A + eps) of each head; mean over layers and heads of d^2 where |d| > gamma ln T,
  /// d = E - threshold ln T. sum: d^2 of each query's entropy, summed over queries.
  static let attentionEntropy = Method(
    "attention_entropy_regularization", kind: .loss, area: "regularize",
    summary: "Holds the entropy of each attention head near a threshold of its own.",
    reference: Reference(
      "Jha and Reagen", 2024, "AERO: Softmax-Only LLMs for Efficient Private Inference", arXiv: "2410.13060"),
    parameters: [
      .real("gamma", 0.2, in: .nonNegative, "The tolerance, as a share of the largest entropy."),
      .real("eps", 1e-9, in: .nonNegative, "Inside the logarithm."),
      .choice("reduction", ["average", "sum"], "The entropy averaged over queries, or deviations summed over them."),
    ],
    inputs: [
      Input("attention", [.init(["L", "H", "T", "U"])], in: .nonNegative, "Attention weights by layer and head."),
      Input("thresholds", [.init(["L", "H"])], "The share of the largest entropy that each head aims at."),
    ],
    properties: ["batch", "nonnegative"],
    implementation: .loss { x in
      let (a, eps) = (x["attention"], x.real("eps"))
      let most = log(Expression.constant(Double(a.shape.last)))
      let thresholds = x["thresholds"].expanded()
      let entropies = -(a * log(eps == 0 ? .select(a .== 0, .constant(1), a) : a + eps)).sum().squeezed()
      let subject = x.text("reduction") == "average" ? entropies.mean() : entropies
      let gap = subject - thresholds * most
      let counted = Expression.select(abs(gap) .<= x.real("gamma") * most, .constant(0), square(gap))
      return counted.sum().meanAll().reshaped([1, 1])
    })

  /// -gamma log p_y - (1 - gamma) / (M - 1) sum_{j != y} log p_j.
  static let environmentSmoothing = Method(
    "environment_label_smoothing", kind: .loss, area: "regularize",
    summary: "Cross-entropy of a domain discriminator that may not be surer than gamma.",
    reference: Reference(
      "Zhang et al.", 2023, "Free Lunch for Domain Adversarial Training: Environment Label Smoothing",
      arXiv: "2302.00194"),
    parameters: [.real("gamma", 0.9, in: .unit, "The share of the sample's own environment.")],
    inputs: [.logits, .targets], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let (gamma, m) = (x.real("gamma"), Double(x.classes))
      guard m > 1 else { return x.crossEntropy }
      let share = (1 - gamma) / (m - 1)
      if gamma > share { return (gamma - share) * x.crossEntropy - share * x.logProbabilities.sum() }
      // Class by class: the two sums above may be infinite, and their difference is not.
      let weights = share + (gamma - share) * x.targetProbabilities
      return -x.logProbabilities.expectation(of: weights)
    })
}
