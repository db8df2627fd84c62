import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let diffusion = [
    perceptionWeighting, targetScoreMatching, ambientDenoising, softRepresentation, unbiasedRiskScore,
    transitionAware, uncertainReward,
  ]

  /// w |prediction - noise|^2: p2 1 / (k + SNR)^gamma, simple 1, snr SNR, truncated_snr max(SNR, 1), min_snr min(SNR, 5);
  /// SNR = a / (1 - a).
  static let perceptionWeighting = Method(
    "p2_weighting", kind: .loss, area: "generative",
    summary: "The noise-prediction loss of diffusion, with little weight on the clean-up steps.",
    reference: Reference(
      "Choi et al.", 2022, "Perception Prioritized Training of Diffusion Models", arXiv: "2204.00227"),
    parameters: [
      .real("k", 1, in: .positive, "Keeps the weight finite at SNR 0."),
      .real("gamma", 1, in: .nonNegative, "0 is the simple loss."),
      .choice("weighting", ["p2", "simple", "snr", "truncated_snr", "min_snr"], "The weight of a step."), .summed,
    ],
    inputs: [
      .prediction, Input("noise", [.init(["N", "..."])], isDifferentiable: false, "The noise that was added."),
      Input(
        "alpha_bar", [.init(["N"])], isDifferentiable: false, in: .unit,
        "The share of signal at each sample's step, 0 to 1."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let a = x["alpha_bar"]
      let snr = a / (1 - a)
      let weight: Expression =
        switch x.text("weighting") {
        case "simple": .constant(1)
        case "snr": snr
        case "truncated_snr": maximum(snr, 1)
        case "min_snr": minimum(snr, 5)
        default: pow(x.real("k") + snr, -x.real("gamma"))
        }
      return weight * x.overElements(square(x["predictions"] - x["noise"]))
    })

  /// |prediction - (w score / alpha - (1 - w) noise / sigma)|^2; w = SNR / (1 + SNR), SNR = alpha^2 v / sigma^2, or a number.
  static let targetScoreMatching = Method(
    "target_score_matching", aliases: ["tsm"], kind: .loss, area: "generative",
    summary: "Score regression that uses the known score of the clean data where noise is small.",
    reference: Reference(
      "De Bortoli, Hutchinson, Wirnsberger and Doucet", 2024, "Target Score Matching", arXiv: "2402.08667"),
    parameters: [
      .real("w", or: ["snr"], in: .unit, "The weight of the clean score: 0 is denoising score matching."),
      .real("v", 1, in: .positive, "The variance of the data, for the rule."), .summed,
    ],
    inputs: [
      .prediction,
      Input("clean_score", [.init(["N", "..."])], isDifferentiable: false, "The score of the clean density."),
      Input("noise", [.init(["N", "..."])], isDifferentiable: false, "The noise that was added."),
      Input("alpha", [.init(["N"])], isDifferentiable: false, in: .positive, "The factor of the signal, above 0."),
      Input("sigma", [.init(["N"])], isDifferentiable: false, in: .positive, "The factor of the noise, above 0."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let (alpha, sigma) = (x["alpha"], x["sigma"])
      let signal = x.real("v") * square(alpha)
      let w = x.optionalReal("w").map { Expression.constant($0) } ?? signal / (signal + square(sigma))
      let target = w / alpha * x["clean_score"] - (1 - w) / sigma * x["noise"]
      return x.overElements(square(x["predictions"] - target))
    })

  /// |f D + (1 - f) x_t - target|^2, f = (s^2 - n^2) / s^2, times min(1 / f^2, clip); 0 where s <= n > 0.
  static let ambientDenoising = Method(
    "ambient_denoising_loss", kind: .loss, area: "generative",
    summary: "Trains a denoiser on clean samples and on samples that were noisy from the start.",
    reference: Reference(
      "Daras, Cherapanamjeri and Daskalakis", 2024,
      "How much is a noisy image worth? Data Scaling Laws for Ambient Diffusion", arXiv: "2411.02780"),
    parameters: [
      .boolean("weighted", true, "Brings noisy samples to unit scale."),
      .real("weight_clip", 5, in: .positive, "The largest such factor."), .summed,
    ],
    inputs: [
      .prediction,
      Input("targets", [.init(["N", "..."])], isDifferentiable: false, "Clean samples, or the noisy ones."),
      Input("noisy_inputs", [.init(["N", "..."])], isDifferentiable: false, "What the model saw."),
      Input("sigma", [.init(["N"])], isDifferentiable: false, "The noise level that the model saw."),
      Input("sigma_noisy", [.init(["N"])], isDifferentiable: false, "The level of the sample itself; 0 if clean."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      let (s, n) = (x["sigma"], x["sigma_noisy"])
      let isUseless = (n .> 0) .& (s .<= n)
      let f = Expression.select((n .== 0) .| isUseless, .constant(1), 1 - square(n / s))
      let error = x.overElements(square(f * x["predictions"] + (1 - f) * x["noisy_inputs"] - x["targets"]))
      let weight = x.boolean("weighted") ? minimum(reciprocal(square(f)), x.real("weight_clip")) : .constant(1)
      return .select(isUseless, .constant(0), weight * error)
    })

  /// Cross-entropy of scale exp(-E_ij / temperature) by row, the diagonal the right one, + dweight E_ii.
  static let softRepresentation = Method(
    "softrepa_loss", aliases: ["softrepa"], kind: .loss, area: "generative",
    summary: "Contrast on a matrix of denoising errors: each sample should fit its own text best.",
    reference: Reference(
      "Lee et al.", 2025, "Aligning Text to Image in Diffusion Models is Easier Than You Think", arXiv: "2503.08250"),
    parameters: [.real("dweight", 0, in: .nonNegative, "The factor of the own error.")],
    inputs: [
      Input("errors", [.init(["N", "N"])], in: .nonNegative, "The error of each sample under each text, 0 or more."),
      Input("scale", [.init([])], isOptional: true, "The largest logit; 4 without it."),
      Input(
        "temperature", [.init([])], isOptional: true, in: .positive,
        "Errors are divided by this, above 0; 0.07 without it."),
    ],
    properties: ["smooth"],
    implementation: .loss { x in
      let e = x["errors"]
      let scale = x.has("scale") ? x["scale"] : .constant(4)
      let scores = scale * exp(-e / (x.has("temperature") ? x["temperature"] : .constant(0.07)))
      return scores.logSumExp() - scores.diagonal + x.real("dweight") * e.diagonal
    })

  /// (|sigma_t s_t + z|^2 + lam SURE / w^2) / n with SURE = |h - y|^2 + 2 w^2 div h - n w^2, h = y + w^2 s(y),
  /// div h = n + w^2 b . (s(y + e b) - s(y)) / e.
  static let unbiasedRiskScore = Method(
    "sure_score", kind: .loss, area: "generative",
    summary: "Learns the score of clean data from noisy data by Stein's unbiased risk estimate.",
    reference: Reference(
      "Aali, Arvinte, Kumar and Tamir", 2023,
      "Solving Inverse Problems with Score-Based Generative Priors learned from Noisy Data", arXiv: "2305.01166"),
    parameters: [
      .real("sigma_noise", 0.5, in: .positive, "The noise level of the data, w."),
      .real("mc_eps", 1e-3, in: .positive, "The length of the probe's step."),
      .real("lam", 1, in: .nonNegative, "The factor of the risk."),
    ],
    inputs: [
      Input("noisy", [.init(["N", "..."])], isDifferentiable: false, "The data y."),
      Input("score", [.init(["N", "..."])], "The model's score at y and w."),
      Input("score_probe", [.init(["N", "..."])], "Its score at y + e b."),
      Input("probe", [.init(["N", "..."])], isDifferentiable: false, "The direction b."),
      Input("score_t", [.init(["N", "..."])], "Its score at the denoised point with noise of level sigma_t."),
      Input("noise_t", [.init(["N", "..."])], isDifferentiable: false, "That noise z."),
      Input("sigma_t", [.init(["N"])], isDifferentiable: false, "Its level."),
    ],
    properties: ["smooth"],
    implementation: .loss { x in
      let (w2, n) = (x.real("sigma_noise") * x.real("sigma_noise"), Double(x["score"].shape.last))
      let slope = (x["probe"] * (x["score_probe"] - x["score"])).sum() / x.real("mc_eps")
      // |h - y|^2 / w^2 = w^2 |s|^2, and 2 div h - n = n + 2 w^2 div s.
      let risk = w2 * square(x["score"]).sum() + n + 2 * w2 * slope
      let matching = square(x["sigma_t"] * x["score_t"] + x["noise_t"]).sum()
      return (matching + x.real("lam") * risk) / n
    })

  /// weight |sum_y w_y D_y - x|^2, w_y = T[y, noisy] p_y / sum, p = softmax(h / temp), constant. Classes with w <= tau are left
  /// out; only the term of the noisy label has a gradient.
  static let transitionAware = Method(
    "tdsm", kind: .loss, area: "generative",
    summary: "Conditional denoising for labels that may be wrong, by a transition matrix.",
    reference: Reference("Na et al.", 2024, "Label-Noise Robust Diffusion Models", arXiv: "2402.17517"),
    parameters: [
      .real("tau", 0.01, in: .unit, "Weights up to this are dropped."),
      .real("temp", 1, in: .positive, "Softens the classifier."), .summed,
    ],
    inputs: [
      Input("predictions", [.init(["N", "C", "D"])], "The denoised sample under each class."),
      Input("targets", [.init(["N", "D"])], isDifferentiable: false, "The clean sample."),
      .classIds("noisy_labels", alone: "the weights are those given one label"),
      Input("classifier_logits", [.init(["N", "C"])], isDifferentiable: false, "Scores of the true classes."),
      Input("transition", [.init(["C", "C"])], isDifferentiable: false, "P(given | true), a row for each true class."),
      Input("weight", [.init(["N"])], isOptional: true, isDifferentiable: false, "The weight of each sample's step."),
    ],
    properties: ["holds_constants", "nonnegative"],
    implementation: .loss { x in
      let d = x["predictions"]
      let (n, classes) = (d.shape[0], d.shape[1])
      let y = x["noisy_labels"]
      let likelihoods = x["transition"].transposed.gatherRows(y).reshaped([n, classes])
      let joint = likelihoods * (x["classifier_logits"] / x.real("temp")).softmax()
      let w = joint / joint.sum()
      let kept = Expression.select(w .> x.real("tau"), w, .constant(0)).stopGradient.expanded()
      let isGiven = Expression.oneHot(y, columns: classes).expanded()
      let mixed = (kept * .select(isGiven, d, d.stopGradient)).sum(axis: 1).squeezed(1)
      let error = x.overElements(square(mixed - x["targets"]))
      return x.has("weight") ? x["weight"] * error : error
    })

  /// g CE(r_a) exp(-U) + U, U = u_scale KL(softmax r_b || softmax r_a), g = reward_scale min(1, step / warmup_steps).
  static let uncertainReward = Method(
    "uncertainty_weighted_reward_loss", aliases: ["uncertainty_weighted_reward"], kind: .loss, area: "generative",
    summary: "A reward loss that counts less where two passes of the reward model disagree.",
    reference: Reference(
      "Zhang et al.", 2025,
      "Ctrl-U: Robust Conditional Image Generation via Uncertainty-aware Reward Modeling", arXiv: "2410.11236"),
    parameters: [
      .real("u_scale", 1, in: .nonNegative, "The factor of the disagreement."),
      .real("reward_scale", 1, in: .nonNegative, "The factor of the reward loss."),
      .integer("step", 1, in: 0 ... .max, "The step of training."),
      .integer("warmup_steps", 0, in: 0 ... .max, "Steps until the reward counts fully."),
    ],
    inputs: [
      Input("predictions_a", [.init(["N", "C"])], "Scores of the first pass."),
      Input("predictions_b", [.init(["N", "C"])], "Scores of the second pass."),
      .targets,
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let warmup = x.integer("warmup_steps")
      let g = x.real("reward_scale") * (warmup == 0 ? 1 : min(1, Double(x.integer("step")) / Double(warmup)))
      let (a, b) = (x["predictions_a"].logSoftmax(), x["predictions_b"].logSoftmax())
      let u = x.real("u_scale") * (exp(b) * (b - a)).sum()
      return g * x.crossEntropy(x["predictions_a"]) * exp(-u) + u
    })
}

extension Parameter {
  /// As `elements`, with the sum of the formula as its initial value.
  static let summed = Parameter.choice("elements", ["sum", "mean"], "How the elements of a sample are put together.")
}

extension Input {
  fileprivate static let prediction = Input("predictions", [.init(["N", "..."])], "The model's output.")
}
