import TemperCatalogue
import TemperGraph

extension Losses {
  static let equalizations = [equalization, vectorScaling]

  /// Classes whose share is below lam are spared as negatives, each with probability gamma. softmax: z_y - log sum_k w_k e^z_k
  /// with the sign turned, sigmoid: sum_k w_k BCE(z_k); w_k = 1 - spared_k [share_k < lam] [k != y]. With probabilities
  /// no class that has a share is spared.
  static let equalization = Method(
    "equalization", aliases: ["eql", "seql"], kind: .loss, area: "imbalance",
    summary: "Rare classes are not pushed down by the samples of frequent ones.",
    reference: Reference(
      "Tan, Wang, Li, Li, Ouyang, Yin and Yan", 2020, "Equalization Loss for Long-Tailed Object Recognition",
      arXiv: "2003.05176"),
    parameters: [
      .choice("form", ["softmax", "sigmoid"], "Classes that compete, or each judged by itself."),
      .real("lam", 0.003, in: .unit, "Classes with a smaller share of the samples are rare."),
      .real(
        "gamma", 0.9, in: .belowOne, "How often a rare class is spared; without `spared` the share by which it is."),
    ],
    inputs: [
      .logits, .targets, .classCounts(in: .nonNegative),
      Input(
        "spared", [.init(["N", "C"], .mask)], isOptional: true,
        "1 where a rare class is spared: draws with probability gamma."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let counts = x["class_counts"]
      let isRare = (counts / counts.sumAll()) .< x.real("lam")
      let isTarget = x.targets.kind == .real ? x.targets .> 0 : .oneHot(x.targets, columns: x.classes)
      let isSpared = isRare .& not(isTarget) .& (x.has("spared") ? x["spared"] : .constant(1))
      let rest = x.has("spared") ? 0 : 1 - x.real("gamma")
      if x.text("form") == "sigmoid" {
        let losses =
          x.targets.kind == .real
          ? x.ifTarget(softplus(-x.logits), otherwise: softplus(x.logits))
          : softplus(.select(isTarget, -x.logits, x.logits))
        return Expression.select(isSpared, rest * losses, losses).sum()
      }
      let lowered = Expression.select(isRare, log(Expression.constant(rest)), .constant(0))
      if !x.has("spared"), x.targets.kind == .index {  // of each row only the target differs
        let own = lowered.reshaped([x.classes, 1]).gatherRows(x.targets).reshaped(x.targets.shape)
        return x.crossEntropy(x.logits + lowered + .place(-own, at: x.targets, columns: x.classes))
      }
      return x.crossEntropy(.select(isSpared, x.logits + log(Expression.constant(rest)), x.logits))
    })

  /// w_y CE(Delta z + iota), Delta_c = (n_c / n_max)^gamma, iota_c = tau log(n_c / n).
  static let vectorScaling = Method(
    "vector_scaling", aliases: ["vs_loss"], kind: .loss, area: "imbalance",
    summary: "Cross-entropy of logits with a factor and an offset for each class.",
    reference: Reference(
      "Kini, Paraskevas, Oymak and Thrampoulidis", 2021,
      "Label-Imbalanced and Group-Sensitive Classification under Overparameterization", arXiv: "2103.01550"),
    parameters: [
      .real("gamma", 0.3, in: .nonNegative, "The exponent of the factors; 0 leaves the logits' scale."),
      .real("tau", 1, in: .nonNegative, "The factor of the log-priors added."),
    ],
    inputs: [.logits, .targets, .classCounts(in: .positive), .classWeights], properties: ["smooth"],
    implementation: .loss { x in
      let counts = x["class_counts"]
      let factors = pow(counts / counts.maximum(), x.real("gamma"))
      let z = factors * x.logits + x.real("tau") * log(counts / counts.sumAll())
      guard x.has("class_weights") else { return x.crossEntropy(z) }
      return x.expectation(x["class_weights"] * (z.logSumExp() - z))
    })
}
