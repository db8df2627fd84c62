import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let corrections = [forwardCorrection, backwardCorrection, taylor, jensenShannon]

  /// -log sum_k T[k, y] p_k; with probabilities as targets its expectation. Patrini et al., 2017.
  static let forwardCorrection = Method(
    "forward_correction", kind: .loss, area: "noisy-labels",
    summary: "Cross-entropy of the noisy label's probability under a transition matrix.", reference: patrini,
    inputs: [.logits, .targets, .transition], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      guard x.targets.kind == .index else {
        // For every noisy label y the sum over k, (N, y, k).
        let into = x["transition"].transposed
        let noisy = (x.logits.expanded(1) + log(into)).logSumExp(where: into .> 0).squeezed()
        return x.expectation(x.logits.logSumExp() - noisy)
      }
      // The logarithms of the matrix or of what the samples take of it: whichever are fewer.
      let isTable = x.logits.shape[0] > x.classes
      let into = x["transition"].transposed
      let taken = (isTable ? log(into) : into).gatherRows(x.targets).reshaped(x.logits.shape)
      let logarithms = isTable ? taken : log(taken)
      return x.logits.logSumExp() - (x.logits + logarithms).logSumExp(where: logarithms .> -.infinity)
    })

  /// sum_j (T^-1)[y, j] CE(z, j); probabilities t as targets: sum_j (t T^-1)_j CE(z, j).
  static let backwardCorrection = Method(
    "backward_correction", kind: .loss, area: "noisy-labels",
    summary: "Cross-entropy made unbiased by the inverse of a transition matrix.", reference: patrini,
    inputs: [.logits, .targets, .transition], properties: ["smooth", "shift_invariant"],
    implementation: .loss { x in
      let inverse = x["transition"].inverted
      let weights =
        x.targets.kind == .index
        ? inverse.gatherRows(x.targets).reshaped(x.logits.shape) : Expression.matmul(x.targets, inverse)
      // Weights and logits less their maximum are at hand before the sum of the exponentials is.
      let (shifted, logSum) = x.logits.shiftedWithLogSum()
      return weights.sum() * logSum - (weights * shifted).sum()
    })

  /// sum_{k = 1..order} (1 - p_y)^k / k: the Taylor series of -log p_y.
  static let taylor = Method(
    "taylor_cross_entropy", kind: .loss, area: "noisy-labels",
    summary: "A few terms of the series of cross-entropy: order 1 is 1 - p_y.",
    reference: Reference("Feng, Shu, Lin, Lv, Li and An", 2020, "Can Cross Entropy Loss Be Robust to Label Noise?"),
    parameters: [.integer("order", 2, in: 1...64, "How many terms.")],
    inputs: [.logits, .targets], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let rest = -expm1(x.logProbabilities)
      var sum = Expression.constant(0)
      // Horner's scheme.
      for k in stride(from: x.integer("order"), through: 1, by: -1) { sum = rest * (1 / Double(k) + sum) }
      return x.expectation(sum)
    })

  /// (w KL(t || m) + (1 - w) KL(p || m)) / (-(1 - w) log(1 - w)), m = w t + (1 - w) p.
  static let jensenShannon = Method(
    "jensen_shannon", aliases: ["js_loss"], kind: .loss, area: "noisy-labels",
    summary: "Between cross-entropy (w near 0) and the mean absolute error (w near 1).",
    reference: Reference(
      "Englesson and Azizpour", 2021,
      "Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels", arXiv: "2105.04522"),
    parameters: [
      .real("share", 0.5, in: Interval(0, 1, includesLower: false, includesUpper: false), "The target's share.")
        .named(also: "weight")
    ],
    inputs: [.logits, .shareTargets], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let w = x.real("share")
      let scale = -(1 - w) * log(Expression.constant(1 - w))
      if x.targets.kind == .index {
        // Beyond the target every p_c / m_c is 1 / (1 - w).
        let (logp, p) = (x.logProbability, x.probability)
        let isZero = p .== 0
        let logm = log(w + (1 - w) * p)
        let own = p * (.select(isZero, .constant(0), logp) - logm)
        return ((1 - w) * own - w * logm) / scale + 1 - p
      }
      let (p, t) = (x.probabilities, x.targetProbabilities)
      let m = w * t + (1 - w) * p
      func divergence(_ a: Expression) -> Expression {
        let isZero = a .== 0
        let ratio = Expression.select(isZero, .constant(1), a) / .select(isZero, .constant(1), m)
        return (a * log(ratio)).sum()
      }
      return (w * divergence(t) + (1 - w) * divergence(p)) / scale
    })

  private static let patrini = Reference(
    "Patrini, Rozza, Menon, Nock and Qu", 2017,
    "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", arXiv: "1609.03683")
}

extension Input {
  fileprivate static let transition = Input(
    "transition", [.init(["C", "C"])], isDifferentiable: false, in: .nonNegative,
    "P(noisy | true), a row for each true class; 0 or more.")
}
