import TemperCatalogue
import TemperGraph

extension Losses {
  static let noisyLabels = [
    generalizedCrossEntropy, symmetricCrossEntropy, activePassive, earlyLearningRegularization,
  ]

  /// (1 - p_y^q) / q, written -expm1(q log p_y) / q: exact for small q and for p_y near 0.
  static let generalizedCrossEntropy = Method(
    "generalized_cross_entropy", aliases: ["gce"], kind: .loss, area: "noisy-labels",
    summary: "Between cross-entropy (q = 0) and the mean absolute error (q = 1).",
    reference: Reference(
      "Zhang and Sabuncu", 2018,
      "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels", arXiv: "1805.07836"),
    parameters: [.real("q", 0.7, in: .unit, "0 is cross-entropy, 1 is 1 - p_y.")],
    inputs: [.logits, .targets], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let q = x.real("q")
      if q == 0 { return x.expectation(-x.logProbabilities) }
      if x.targets.kind == .index { return -expm1(q * x.logProbability) / q }
      return x.expectation(-expm1(q * x.logProbabilities) / q)
    })

  /// alpha CE + beta RCE, RCE = -sum_c p_c log t_c with log 0 = A: for class ids -A (1 - p_y).
  static let symmetricCrossEntropy = Method(
    "symmetric_cross_entropy", aliases: ["sce"], kind: .loss, area: "noisy-labels",
    summary: "Cross-entropy and its reverse, which weighs false labels less.",
    reference: Reference(
      "Wang, Ma, Chen, Luo, Yi and Bailey", 2019,
      "Symmetric Cross Entropy for Robust Learning with Noisy Labels", arXiv: "1908.06112"),
    parameters: [
      .real("alpha", 0.1, in: .nonNegative, "The factor of cross-entropy."),
      .real("beta", 1, in: .nonNegative, "The factor of reverse cross-entropy."),
      .real(
        "A", -4, in: Interval(-.infinity, 0, includesLower: false, includesUpper: false), "What log 0 is taken to be."),
    ],
    inputs: [.logits, .shareTargets], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      x.real("alpha") * x.crossEntropy + x.real("beta") * x.reverseCrossEntropy
    })

  /// alpha active + beta passive. Active: ce, focal (FL), and both normalised by their sum over all classes as target,
  /// NCE = log p_y / sum_k log p_k. Passive: MAE = 2 (1 - p_y), RCE = -A (1 - p_y). Ma et al., 2020.
  static let activePassive = Method(
    "active_passive_loss", aliases: ["apl"], kind: .loss, area: "noisy-labels",
    summary: "A normalised loss that raises the target's probability and one that lowers the others.",
    reference: Reference(
      "Ma, Huang, Wang, Romano, Erfani and Bailey", 2020,
      "Normalized Loss Functions for Deep Learning with Noisy Labels", arXiv: "2006.13554"),
    parameters: [
      .choice("active", ["nce", "nfl", "ce", "fl"], "The loss that raises the target's probability."),
      .choice("passive", ["mae", "rce"], initial: "rce", "The loss that lowers the other probabilities."),
      .real("alpha", 1, in: .nonNegative, "The factor of the active loss."),
      .real("beta", 1, in: .nonNegative, "The factor of the passive loss."),
      .real(
        "A", -4, in: Interval(-.infinity, 0, includesLower: false, includesUpper: false),
        "What log 0 is taken to be in rce."),
      .real("gamma", 0.5, in: .nonNegative, "The exponent of the focal forms."),
      .boolean("halved_mae", false, "MAE as 1 - p_y, as the authors' code has it."),
    ],
    inputs: [.logits, .shareTargets], properties: ["smooth", "shift_invariant"],
    implementation: .loss { x in
      let isFocal = x.text("active") == "nfl" || x.text("active") == "fl"
      let gamma = x.real("gamma")
      func loss(_ logp: Expression) -> Expression {
        isFocal ? focalTerm(logp, gamma) : -logp
      }
      let isNormalised = x.text("active") == "nce" || x.text("active") == "nfl"
      let active: Expression
      if isNormalised {
        active = x.normalized(total: isFocal ? nil : -x.sumOfLogProbabilities, loss)
      } else if x.targets.kind == .index {
        active = isFocal ? focalValue(x.logProbability, gamma) : -x.logProbability
      } else {
        active = x.expectation(isFocal ? focalValue(x.logProbabilities, gamma) : -x.logProbabilities)
      }
      let passive =
        x.text("passive") == "mae"
        ? (x.boolean("halved_mae") ? 0.5 : 1) * abs(x.probabilities - x.targetProbabilities).sum()
        : x.reverseCrossEntropy
      return x.real("alpha") * active + x.real("beta") * passive
    })

  /// CE + lam log(1 - <p, t>), t a running average of each sample's predictions: t <- beta t + (1 - beta) p / sum p
  /// first, then used as a constant. p is clamped to [1e-4, 1 - 1e-4]. Liu et al., 2020, arXiv 2007.00151.
  static let earlyLearningRegularization = Method(
    "early_learning_regularization", aliases: ["elr_loss", "elr"], kind: .loss, area: "noisy-labels",
    summary: "Cross-entropy that holds on to what the model believed about each sample early on.",
    reference: Reference(
      "Liu, Niles-Weed, Razavian and Fernandez-Granda", 2020,
      "Early-Learning Regularization Prevents Memorization of Noisy Labels", arXiv: "2007.00151"),
    parameters: [
      .real("lam", 3, in: .nonNegative, "The factor of the regulariser."),
      .real("beta", 0.7, in: .unit, "How slowly the running averages move."),
    ],
    inputs: [.logits, .targets],
    state: [SampleState("ema_targets", ["C"], "The running average of a sample's predicted probabilities.")],
    properties: ["holds_constants", "shift_invariant"],
    implementation: .loss { x in
      let beta = x.real("beta")
      let inner = x.probabilities
      let clamped = clamp(inner, 1e-4, 1 - 1e-4)
      let p = clamped.withSlopes([(by: inner, slope: clamped .== inner)])
      let t = (beta * x.state("ema_targets") + (1 - beta) * (p * reciprocal(p.sum()))).stopGradient
      x.update("ema_targets", to: t)
      return x.crossEntropy + x.number("lam") * log(maximum(1 - (p * t).sum(), 1e-4))
    })
}

extension Formula {
  /// -sum_c p_c log t_c with log 0 = A, (N, 1).
  var reverseCrossEntropy: Expression {
    let floor = real("A")
    return targets.kind == .index
      ? floor * expm1(logProbability) : -(probabilities * TemperGraph.maximum(log(targets), floor)).sum()
  }
}
