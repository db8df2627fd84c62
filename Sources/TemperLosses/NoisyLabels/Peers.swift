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
      let (p, samples) = (x.probabilities, Double(x.logits.shape[0]))
      let sums = x.sumsByTarget(p)
      let value = -log(abs((sums / samples).determinant()) + x.real("eps"))
      // Written out, so that p, which is stored for its sums, is all that slopes are made of.
      let bySums: Expression
      do throws(TemperError) {
        bySums = try Differentiate.gradients(of: value, withRespectTo: [sums])[0]
      } catch { return .invalid(error) }
      let rows = x.targets.kind == .index ? bySums.gatherRows(x.targets) : .matmul(x.targets, bySums)
      let along = p * rows.reshaped(x.logits.shape)
      return value.withSlopes([(by: x.logits, slope: along - p * along.sum())])
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
      let (n, classes, z) = (x.logits.shape[0], x.classes, x.logits)
      let priors =
        x.has("class_priors")
        ? x["class_priors"].reshaped([1, classes]) : .constant(1 / Double(classes), [1, classes])
      func times(_ p: Expression, _ logarithm: Expression) -> Expression {
        p * .select(p .== 0, .constant(0), logarithm)
      }
      func ownLog(_ p: Expression) -> Expression { log(.select(p .== 0, .constant(1), p)) }
      let batch = z.batchSoftmax(), logMeans = batch.peak + batch.rest
      // p over its mean takes the one exponential, p is their product: neither overflows.
      let logp = z - batch.top - batch.logSum, means = exp(logMeans)
      let share = exp(logp - batch.peak - maximum(batch.rest, -1e30)), p = share * means
      // Where p is 0, p log p is.
      let finite = maximum(logp, -1e30)
      let (weight, decided) = ((priors * share).sum(), (p * finite).sum())
      let spread = times(priors, ownLog(priors) - logMeans).sumAll()
        .withSlopes([(by: z, slope: share * (means * (weight / Double(n)) - priors / Double(n)))])
      let beta = x.real("beta")
      guard x.targets.kind == .index else {
        let divergence = times(x.targets, ownLog(x.targets) - x.logProbabilities).sum()
        let entropy = decided.withSlopes([(by: z, slope: share * (means * (finite - decided)))])
        return divergence + x.real("alpha") * spread - beta * entropy
      }
      let target = Expression.place(.constant(-1, x.targets.shape), at: x.targets, columns: classes)
      let ofSample = (-logp.pick(x.targets) - beta * decided).withSlopes([
        (by: z, slope: share * (means * ((1 + beta * decided) - beta * finite))), (by: z, slope: target),
      ])
      return ofSample + x.real("alpha") * spread
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
