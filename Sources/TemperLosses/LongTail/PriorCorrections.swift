import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let longTail = [labelDistributionMargin, binaryDistributionMargin, logitAdjusted, balancedSoftmax]

  /// CE(scale (z - m_y at y)), m_j = max_margin (n_min / n_j)^(1/4). Cao et al., 2019. With probabilities t every class
  /// has its margin by its share, z - t m.
  static let labelDistributionMargin = Method(
    "ldam", kind: .loss, area: "imbalance", summary: "Cross-entropy with larger margins for rarer classes.",
    reference: Reference(
      "Cao, Wei, Gaidon, Arechiga and Ma", 2019,
      "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", arXiv: "1906.07413"),
    parameters: [
      .real("max_margin", 0.5, in: .nonNegative, "The margin of the rarest class."),
      .real("scale", 30, in: .positive, "The factor of the logits."),
    ],
    inputs: [.logits, .targets, .classCounts(in: .positive)], properties: ["smooth", "shift_invariant"],
    implementation: .loss { x in
      let counts = x["class_counts"]
      let margins = x.real("max_margin") * pow(counts.minimum() / counts, 0.25)
      if x.targets.kind == .real { return x.crossEntropy(x.real("scale") * (x.logits - x.targets * margins)) }
      let own = margins.broadcast(to: x.logits.shape).pick(x.targets)
      return x.crossEntropy(x.real("scale") * (x.logits + .place(-own, at: x.targets, columns: x.classes)))
    })

  /// BCE(z - y m, y) over the labels, m_k = max_margin n_k^(-1/4), n_k at least 1: only positives are shifted down.
  static let binaryDistributionMargin = Method(
    "ldam_bce", aliases: ["label_wise_attention_ldam_bce"], kind: .loss, area: "imbalance",
    summary: "Binary cross-entropy of many labels with larger margins for the positives of rarer ones.",
    reference: Reference(
      "Biswas, Pham and Zhang", 2021,
      "TransICD: Transformer Based Code-wise Attention Model for Explainable ICD Coding", arXiv: "2104.10652"),
    parameters: [
      .real("C", 3, in: .nonNegative, "The margin of a label with one positive.").named(also: "max_margin"), .elements,
    ],
    inputs: [
      .logits, Input("targets", [.init(["N", "C"])], isDifferentiable: false, "0 or 1 for each label."),
      Input(
        "class_counts", [.init(["C"])], isDifferentiable: false, in: .nonNegative, "How many positives each label has."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let margins = x.real("C") * pow(maximum(x["class_counts"], 1), -0.25)
      let shifted = x.logits - x.targets * margins
      // A logit of -inf (a mask) with target 0 costs nothing.
      return x.overElements(softplus(shifted) - .select(x.targets .== 0, .constant(0), x.targets * shifted))
    })

  /// CE(z + tau log prior). Menon et al., 2021.
  static let logitAdjusted = Method(
    "logit_adjusted", aliases: ["logit_adjustment"], kind: .loss, area: "imbalance",
    summary: "Cross-entropy of logits raised by the log of the class priors.",
    reference: Reference(
      "Menon, Jayasumana, Rawat, Jain, Veit and Kumar", 2021, "Long-tail learning via logit adjustment",
      arXiv: "2007.07314"),
    parameters: [.real("tau", 1, in: .nonNegative, "How much of the prior is counted.")],
    inputs: [.logits, .targets, .classPriors(in: .nonNegative)], properties: ["smooth", "shift_invariant"],
    implementation: .loss { x in x.crossEntropy(x.logits + x.real("tau") * log(x["class_priors"])) })

  /// CE(z + log n). Ren et al., 2020.
  static let balancedSoftmax = Method(
    "balanced_softmax", kind: .loss, area: "imbalance",
    summary: "Cross-entropy of logits raised by the log of the class counts.",
    reference: Reference(
      "Ren et al.", 2020, "Balanced Meta-Softmax for Long-Tailed Visual Recognition", arXiv: "2007.10740"),
    inputs: [.logits, .targets, .classCounts(in: .nonNegative)], properties: ["smooth", "shift_invariant"],
    implementation: .loss { x in x.crossEntropy(x.logits + log(x["class_counts"])) })
}

extension Input {
  static func classCounts(in domain: Interval) -> Input {
    Input(
      "class_counts", [.init(["C"])], isDifferentiable: false, in: domain,
      "How many training samples each class has, \(domain.words).")
  }
  static func classPriors(in domain: Interval) -> Input {
    Input(
      "class_priors", [.init(["C"])], isDifferentiable: false, in: domain,
      "The share of each class in the training set, \(domain.words).")
  }
}
