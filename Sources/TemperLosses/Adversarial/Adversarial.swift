import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let adversarial = [abnormalExamples, weightedEnergy, outlierExposure]

  /// CE(z1) + lam1 |A| / B (lam2 mean_A(l0 - l1) + lam3 max(mean_A |z1 - z0|^2 - mean_N |z1 - z0|^2, 0)): A the samples whose
  /// loss fell in the attack, N the others, z0 and l0 before it and constant. Added to every sample.
  static let abnormalExamples = Method(
    "aaer_fast_adversarial_training", aliases: ["aaer"], kind: .loss, area: "adversarial",
    summary: "Single-step adversarial training with a penalty on examples that the attack made easier.",
    reference: Reference(
      "Lin, Yu and Liu", 2023,
      "Eliminating Catastrophic Overfitting Via Abnormal Adversarial Examples Regularization", arXiv: "2404.08154"),
    parameters: [
      .real("lam1", 1, in: .nonNegative, "The factor of the penalty."),
      .real("lam2", 4, in: .nonNegative, "The factor of the fall of the loss."),
      .real("lam3", 1.5, in: .nonNegative, "The factor of the change of the logits."),
      .boolean("ce_grad", false, "The fall of the loss has a gradient too."),
    ],
    inputs: [
      .adversarialLogits,
      Input("initial_logits", [.init(["N", "C"])], isDifferentiable: false, "Scores before the attack's step."),
      .targets,
    ],
    properties: ["holds_constants"],
    implementation: .loss { x in
      let (z1, z0) = (x["adversarial_logits"], x["initial_logits"].stopGradient)
      let (l1, l0) = (x.crossEntropy(z1), x.crossEntropy(z0))
      let isAbnormal = l0 .> l1
      let (count, n) = (isAbnormal.sumAll(), Double(z1.shape[0]))
      let moved = square(z1 - z0).sum()
      func mean(_ values: Expression, _ mask: Expression, _ count: Expression) -> Expression {
        (mask * values).sumAll() / maximum(count, 1)
      }
      let fall = mean(l0 - (x.boolean("ce_grad") ? l1 : l1.stopGradient), isAbnormal, count)
      let usual = mean(moved, 1 - isAbnormal, n - count).stopGradient
      let excess = relu(mean(moved, isAbnormal, count) - usual)
      let isMixed = (count .> 0) .& (count .< n)
      let penalty = x.real("lam1") / n * count * (x.real("lam2") * fall + x.real("lam3") * excess)
      return l1 + .select(isMixed, penalty, .constant(0))
    })

  /// w (CE + beta KL(softmax z || softmax z')), w = 1 / log(1 + exp |E|), E = -log sum exp z, constant. nat: CE of z, adv: of z'.
  static let weightedEnergy = Method(
    "weat_loss", aliases: ["weat"], kind: .loss, area: "adversarial",
    summary: "Adversarial training in which samples of low energy count less.",
    reference: Reference(
      "Mirza et al.", 2024, "Shedding More Light on Robust Classifiers under the lens of Energy-based Models",
      arXiv: "2407.06315"),
    parameters: [
      .real("beta", 6, in: .nonNegative, "The factor of the divergence."),
      .choice("variant", ["nat", "adv"], "Cross-entropy of the clean or of the attacked scores."),
    ],
    inputs: [.logits, .targets, .adversarialLogits], properties: ["holds_constants", "nonnegative"],
    implementation: .loss { x in
      let (z, attacked) = (x.logits, x["adversarial_logits"])
      let w = reciprocal(softplus(abs(z.logSumExp()))).stopGradient
      let divergence = z.divergence(fromSoftmaxOf: attacked)
      return w * (x.crossEntropy(x.text("variant") == "nat" ? z : attacked) + x.real("beta") * divergence)
    })

  /// CE(z, y) + b CE(z of the mix, m onehot(y) + (1 - m) / K).
  static let outlierExposure = Method(
    "mixoe", kind: .loss, area: "uncertainty",
    summary: "Confidence that falls along the way from a sample to an outlier.",
    reference: Reference(
      "Zhang, Inkawhich, Linderman, Chen and Li", 2023,
      "Mixture Outlier Exposure: Towards Out-of-Distribution Detection in Fine-grained Environments",
      arXiv: "2106.03917"),
    parameters: [.real("b", 1, in: .nonNegative, "The factor of the mixed part.")],
    inputs: [
      .logits, .targets, Input("mixed_logits", [.init(["N", "C"])], "Scores of the mixed inputs."),
      Input("mix", [.init(["N"])], isDifferentiable: false, in: .unit, "The sample's share of each mix, 0 to 1."),
    ],
    properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let (mixed, m) = (x["mixed_logits"], x["mix"])
      let uniform = mixed.logSumExp() - mixed.mean()
      return x.crossEntropy + x.real("b") * (m * x.crossEntropy(mixed) + (1 - m) * uniform)
    })
}

extension Input {
  fileprivate static let adversarialLogits = Input(
    "adversarial_logits", [.init(["N", "C"])], "Scores of the attacked inputs.")
}
