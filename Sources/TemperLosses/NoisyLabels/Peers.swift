import TemperCatalogue
import TemperCore
import TemperGraph

// What a batch says together: pairs of strangers, joint frequencies, the spread over classes.

extension Losses {
  static let peers = [peerLoss, determinantMutualInformation, jointOptimization]

  /// CE(z_n, y_n) - alpha CE(z_n1, y_n2), n1 and n2 other samples drawn independently. Without such a draw its mean over all
  /// labels of the batch: -sum_c f_c log p_c with their frequencies f.
  static let peerLoss = Method(
    "peer_loss", kind: .loss, area: "noisy-labels",
    summary: "Cross-entropy less that of inputs and labels which do not belong together: no noise rate is needed.",
    reference: Reference(
      "Liu and Guo", 2020, "Peer Loss Functions: Learning from Noisy Labels without Knowing Noise Rates",
      arXiv: "1910.03231"),
    parameters: [.real("alpha", 1, in: .nonNegative, "The factor of the peers' term.")],
    inputs: [
      .logits, .targets,
      Input("peer_logits", [.init(["N", "C"])], isOptional: true, "Scores of another sample for each."),
      Input(
        "peer_targets", Input.targets.forms, isOptional: true, isDifferentiable: false,
        "The label of yet another sample for each, or its probabilities."),
    ],
    properties: ["smooth", "shift_invariant"],
    implementation: .loss { x in
      let alpha = x.real("alpha")
      guard x.has("peer_logits") == x.has("peer_targets") else {
        return .invalid(.invalidArgument, "peer_logits and peer_targets come together, or neither does.")
      }
      if x.has("peer_logits") {
        return x.crossEntropy - alpha * x["peer_logits"].crossEntropy(of: x["peer_targets"])
      }
      // sum_c f_c log p_c = sum_c f_c z_c - log sum exp z: frequencies sum to 1.
      let frequencies = x.targetFrequencies
      let mean = Expression.select(frequencies .== 0, .constant(0), frequencies * x.logits).sum()
      return x.crossEntropy + alpha * (mean - x.logits.logSumExp())
    })

  /// -log(|det U| + eps), U = (1 / N) sum_n t_n p_n^T.
  static let determinantMutualInformation = Method(
    "determinant_mutual_information", aliases: ["dmi", "l_dmi"], kind: .loss, area: "noisy-labels",
    summary: "How much predictions tell of the labels: noise that depends on the class only adds a constant.",
    reference: Reference(
      "Xu, Cao, Kong and Wang", 2019,
      "L_DMI: A Novel Information-theoretic Loss Function for Training Deep Nets Robust to Label Noise",
      arXiv: "1909.03388"),
    parameters: [.real("eps", 0.001, in: .positive, "Keeps batches without one of the classes finite.")],
    inputs: [.logits, .targets], properties: ["batch", "shift_invariant"],
    implementation: .loss { x in
      let joint = x.sumsByTarget(x.probabilities) / Double(x.logits.shape[0])
      return -log(abs(joint.determinant()) + x.real("eps"))
    })

  /// KL(t || p) + alpha KL(q || mean p) + beta H(p): labels are updated from predictions, which must neither all become
  /// one class nor stay undecided. The second term is of the batch.
  static let jointOptimization = Method(
    "joint_optimization", aliases: ["joint"], kind: .loss, area: "noisy-labels",
    summary: "Divergence from labels that are learnt along, with the spread over classes kept.",
    reference: Reference(
      "Tanaka, Ikami, Yamasaki and Aizawa", 2018, "Joint Optimization Framework for Learning with Noisy Labels",
      arXiv: "1803.11364"),
    parameters: [
      .real("alpha", 1.2, in: .nonNegative, "The factor of the distance from the prior."),
      .real("beta", 0.8, in: .nonNegative, "The factor of the entropy of each prediction."),
    ],
    inputs: [
      .logits, .shareTargets,
      Input(
        "class_priors", [.init(["C"])], isOptional: true, isDifferentiable: false, in: .nonNegative,
        "The share of each class; equal shares without it."),
    ],
    properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let (n, classes, logp) = (x.logits.shape[0], x.classes, x.logProbabilities)
      let priors =
        x.has("class_priors")
        ? x["class_priors"].reshaped([1, classes]) : .constant(1 / Double(classes), [1, classes])
      // log of the mean probability of each class, over samples.
      let top = maximum(logp.maximum(axis: 0), -1e30).stopGradient
      let means = top + log(exp(logp - top).sum(axis: 0) / Double(n))
      func times(_ p: Expression, _ logarithm: Expression) -> Expression {
        p * .select(p .== 0, .constant(0), logarithm)
      }
      func ownLog(_ p: Expression) -> Expression { log(.select(p .== 0, .constant(1), p)) }
      let spread = times(priors, ownLog(priors) - means).sumAll()
      let divergence =
        x.targets.kind == .index ? x.crossEntropy : times(x.targets, ownLog(x.targets) - logp).sum()
      return divergence + x.real("alpha") * spread - x.real("beta") * times(x.probabilities, logp).sum()
    })
}

extension Formula {
  /// The sum over the samples of each class of their rows, (C, D): T^t rows for targets T as probabilities.
  func sumsByTarget(_ rows: Expression) -> Expression {
    targets.kind == .index
      ? rows.scatterRows(targets, rows: classes) : .matmul(targets, rows, transposeA: true)
  }

  /// The mean target, (1, C).
  var targetFrequencies: Expression {
    let samples = Double(logits.shape[0])
    guard targets.kind == .index else { return targets.mean(axis: 0) }
    return (sumsByTarget(.constant(1, [logits.shape[0], 1])) / samples).reshaped([1, classes])
  }
}
