import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let multiLabel = [positiveUnlabelled, positiveUnlabelledConsistency, clusterDiscrimination, gumbelOptimized]

  /// sum_j w_j log(mean_b s_bj) - mean over the positives of j of log s_bj, s = sigmoid(z / t_j), t_j = min(1, alpha std_b z),
  /// w_j = (mean_b s_bj)^gamma; t and w constants. A column of equal logits has t = 1.
  static let positiveUnlabelled = Method(
    "pu_multilabel_loss", kind: .loss, area: "noisy-labels",
    summary: "Several labels a sample, of which only the positives are trusted.",
    reference: Reference(
      "Yuan et al.", 2023, "Positive Label Is All You Need for Multi-Label Classification", arXiv: "2306.16016"),
    parameters: [
      .real("alpha", 1, in: .positive, "The temperature over the spread of a label's logits."),
      .real("gamma", 0.55, in: .nonNegative, "The exponent of the balancing weights."),
    ],
    inputs: [.multiLabelLogits, .labels(alone: "positives are certain, all else unknown")],
    properties: ["holds_constants", "batch"],
    implementation: .loss { x in
      let (z, isPositive) = (maximum(x["logits"], -1e15), x["targets"])  // so that -inf has a square
      let variance = square(z - z.mean(axis: 0)).mean(axis: 0)
      let spread = x.real("alpha") * sqrt(variance)
      let t = Expression.select(variance .== 0, .constant(1), minimum(spread, 1)).stopGradient
      let s = sigmoid(z / t)
      let mean = s.mean(axis: 0)
      let w = pow(mean, x.real("gamma")).stopGradient
      let logs = (isPositive * log(s + 1e-10)).sum(axis: 0) / maximum(isPositive.sum(axis: 0), 1)
      return (w * log(mean + 1e-10) - logs).sum()
    })

  /// sum_j mean_b (log m_bj - log sigmoid(z_bj))^2, m soft targets of mixed inputs.
  static let positiveUnlabelledConsistency = Method(
    "pu_multilabel_loss_consistency", aliases: ["pu_multilabel_loss/consistency"], kind: .loss, area: "noisy-labels",
    summary: "Predictions of mixed inputs should be the mix of the predictions.",
    reference: positiveUnlabelled.reference,
    inputs: [
      Input("mixed_logits", [.init(["N", "L"])], "Scores of the mixed inputs."),
      Input("mixed_targets", [.init(["N", "L"])], isDifferentiable: false, in: .unit, "Their mixed targets, 0 to 1."),
    ],
    properties: ["batch", "smooth", "nonnegative"],
    implementation: .loss { x in
      let gap = log(x["mixed_targets"] + 1e-10) - log(sigmoid(x["mixed_logits"]) + 1e-10)
      return square(gap).mean(axis: 0).sum()
    })

  /// log(1 + sum_{j negative} exp s_j) + log(1 + sum_{i positive} exp -s_i): 0 is the threshold of all labels.
  static let clusterDiscrimination = Method(
    "mlcd_loss", aliases: ["mlcd"], kind: .loss, area: "semi",
    summary: "Positive labels above 0, negative ones below, without competing.",
    reference: Reference(
      "An et al.", 2024, "Multi-label Cluster Discrimination for Visual Representation Learning", arXiv: "2407.17331"),
    inputs: [.multiLabelLogits, .labels(alone: "labels are two sets, above 0 and below")],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let (s, isPositive) = (x["logits"].bounded, x["targets"])
      return softplus(s.logSumExp(where: 1 - isPositive)) + softplus((-s).logSumExp(where: isPositive))
    })

  /// -y log p - (1 - y) log(1 - p) with p = exp(-exp(-q)), summed over classes; q and each term are clipped.
  static let gumbelOptimized = Method(
    "gumbel_optimized_loss", aliases: ["gol"], kind: .loss, area: "imbalance",
    summary: "Binary cross-entropy with a Gumbel link, which pushes rare positives hard.",
    reference: Reference(
      "Alexandridis, Deng, Nguyen and Luo", 2022, "Long-tailed Instance Segmentation using Gumbel Optimized Loss",
      arXiv: "2207.10936"),
    parameters: [
      .real("clamp_min", -4, "The least logit."), .real("clamp_max", 10, "The largest logit."),
      .real("loss_max", 20, in: .positive, "The largest term; beyond it there is no gradient."),
    ],
    inputs: [
      .multiLabelLogits,
      Input("targets", [.init(["N", "L"])], isDifferentiable: false, "0 or 1 for each label."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      let e = exp(-clamp(x["logits"], x.real("clamp_min"), x.real("clamp_max")))
      let y = x["targets"]
      let terms = y * e - (1 - y) * log(-expm1(-e))
      return clamp(terms, 0, x.real("loss_max")).sum()
    })
}

extension Input {
  static let multiLabelLogits = Input("logits", [.init(["N", "L"])], "A score for each label.")
  fileprivate static func labels(alone reason: String) -> Input {
    Input(
      "targets", [.init(["N", "L"], .mask)], isDifferentiable: false,
      "1 for the labels of a sample, no probabilities: \(reason).")
  }
}
