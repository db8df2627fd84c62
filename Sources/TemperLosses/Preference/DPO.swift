import TemperCatalogue
import TemperCore
import TemperGraph

// Sums of token log-probabilities of a chosen and a rejected answer, under the policy and a frozen reference.
// Margin d = (policy - reference) of the chosen answer - the same of the rejected one; h = beta d.

extension Losses {
  static let preference = [
    directPreference, identityPreference, robustPreference, distributionallyRobustPreference, marginAdaptivePreference,
    noiseAwarePreference, dispreference, sparsePreference, pairwiseReward, calibratedHinge, anchoredUp, anchoredDown,
  ]

  /// -(1 - s) log sigmoid(h) - s log sigmoid(-h).
  static let directPreference = preferenceLoss(
    "dpo", "The log-likelihood of the preferences under the policy's implied rewards.",
    Reference(
      "Rafailov et al.", 2023, "Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
      arXiv: "2305.18290"),
    [.real("label_smoothing", 0, in: .unit, "The share of pairs taken to be the wrong way round.")],
    properties: ["smooth", "nonnegative"]
  ) { x, h in x.smoothedLogistic(h) }

  /// (d - 1 / (2 beta))^2.
  static let identityPreference = preferenceLoss(
    "ipo", "The squared distance of the margin from its target.",
    Reference(
      "Azar et al.", 2024, "A General Theoretical Paradigm to Understand Learning from Human Preferences",
      arXiv: "2310.12036"),
    beta: .real("beta", 0.1, in: .positive, "The strength of the regularisation."),
    properties: ["smooth", "nonnegative"]
  ) { x, _ in square(x.preferenceMargin - 1 / (2 * x.real("beta"))) }

  /// ((1 - e) l(h) - e l(-h)) / (1 - 2 e), l(h) = -log sigmoid(h): equal to l(h) - e h / (1 - 2 e).
  static let robustPreference = preferenceLoss(
    "robust_dpo", "DPO without the bias that pairs flipped at a known rate bring.",
    Reference(
      "Ray Chowdhury, Kini and Natarajan", 2024, "Provably Robust DPO: Aligning Language Models with Noisy Feedback",
      arXiv: "2403.00409"),
    [.real("eps", 0.1, in: Interval(0, 0.5, includesUpper: false), "The rate of flipped pairs.")],
    properties: ["smooth"]
  ) { x, h in softplus(-h) - x.real("eps") / (1 - 2 * x.real("eps")) * h }

  /// -beta' log((1 / B) sum_i exp(-l_i / beta')), l = -log sigmoid(h).
  static let distributionallyRobustPreference = preferenceLoss(
    "dr_dpo_loss", aliases: ["dr_dpo"], "A soft minimum of DPO over the batch: contradicted pairs count less.",
    Reference(
      "Wu et al.", 2025,
      "Towards Robust Alignment of Language Models: Distributionally Robustifying Direct Preference Optimization",
      arXiv: "2407.07880"),
    [.real("beta_prime", 1, in: .positive, "Infinity is the mean, 0 the minimum.")],
    properties: ["batch", "smooth", "nonnegative"]
  ) { x, h in
    let (temperature, n) = (x.real("beta_prime"), h.shape[0])
    let scores = (-softplus(-h) / temperature).reshaped([1, n])
    return -temperature * (scores.logSumExp() - log(Expression.constant(Double(n))))
  }

  /// max(0, 1 - h).
  static let calibratedHinge = preferenceLoss(
    "slic_hinge", aliases: ["slic"], "Zero once the margin is wide enough.",
    Reference(
      "Zhao et al.", 2023, "SLiC-HF: Sequence Likelihood Calibration with Human Feedback", arXiv: "2305.10425"),
    properties: ["nonnegative"]
  ) { _, h in relu(1 - h) }

  /// 1 - sigmoid(beta r_chosen) + sigmoid(beta r_rejected), r = policy - reference.
  static let anchoredUp = preferenceLoss(
    "apo_zero", "Raises the chosen answer and lowers the rejected one, each against the reference.", anchoredReference,
    properties: ["smooth", "nonnegative"]
  ) { x, _ in
    sigmoid(-x.real("beta") * x.logRatio("chosen")) + sigmoid(x.real("beta") * x.logRatio("rejected"))
  }

  /// sigmoid(beta r_chosen) + 1 - sigmoid(h): both answers are worse than what the policy does.
  static let anchoredDown = preferenceLoss(
    "apo_down", "Lowers both answers, the rejected one more.", anchoredReference, properties: ["smooth", "nonnegative"]
  ) { x, h in sigmoid(x.real("beta") * x.logRatio("chosen")) + sigmoid(-h) }

  private static let anchoredReference = Reference(
    "D'Oosterlinck et al.", 2024,
    "Anchored Preference Optimization and Contrastive Revisions: Addressing Underspecification in Alignment",
    arXiv: "2408.06266")

  /// w(r) l(h) with the reward model's margin r: w = sigmoid(c r) / sigmoid(r) where r > -tau, else 1;
  /// c = c_min + (c_max - c_min) / (1 + (c_max - 1) / (1 - c_min) exp(lam (|r| - tau))).
  static let marginAdaptivePreference = preferenceLoss(
    "madpo_loss", aliases: ["madpo"], "DPO that amplifies pairs which a reward model finds hard.",
    Reference(
      "Rho", 2025, "Margin Adaptive DPO: Leveraging Reward Model for Granular Control in Preference Optimization"),
    [
      .real("c_max", 2, in: Interval(1, .infinity, includesLower: false), "The factor at margin 0."),
      .real("c_min", 0.5, in: Interval(0, 1, includesUpper: false), "The factor far away."),
      .real("lam", 1, in: .positive, "How fast the factor falls."),
      .real("tau", 2, in: .nonNegative, "The margin at which it is 1."),
    ],
    further: [.reward("chosen_rewards", "chosen"), .reward("rejected_rewards", "rejected")],
    properties: ["smooth", "nonnegative"]
  ) { x, h in
    let (high, low, tau) = (x.real("c_max"), x.real("c_min"), x.real("tau"))
    let r = x["chosen_rewards"] - x["rejected_rewards"]
    let c = low + (high - low) / (1 + (high - 1) / (1 - low) * exp(x.real("lam") * (abs(r) - tau)))
    let w = Expression.select(r .> -tau, exp(softplus(-r) - softplus(-(c * r))), .constant(1))
    return w * softplus(-h)
  }

  /// (1 - p^q) / q with p = sigmoid(h). Without q it follows the batch, as a constant: clamp(2 (1 - sigmoid(alpha m)),
  /// 0.001, 1) of the mean margin m before beta (rule "code"), or clamp(1 - sigmoid(alpha m), 0.01, 1) after it ("paper").
  static let noiseAwarePreference = preferenceLoss(
    "napo_loss", aliases: ["napo"], "Generalised cross-entropy on the probability of the preference.",
    Reference(
      "Zhang et al.", 2025,
      "Debiasing Multimodal Large Language Models via Noise-Aware Preference Optimization", arXiv: "2503.17928"),
    [
      .optionalReal("q", in: Interval(0, 1), "0 is DPO, 1 is 1 - p; none follows the batch."),
      .choice("rule", ["code", "paper"], "How q follows the batch."),
      .choice("margin", ["averaged", "summed"], "Margins by token, or of whole answers, in the rule."),
      .real("alpha", 0.5, in: .nonNegative, "The factor of the mean margin."),
    ],
    further: [.length("chosen_lengths", "chosen"), .length("rejected_lengths", "rejected")],
    properties: ["holds_constants", "nonnegative"]
  ) { x, h in
    let logp = -softplus(-h)
    if let q = x.optionalReal("q") { return q == 0 ? -logp : -expm1(q * logp) / q }
    var margin = x.preferenceMargin
    if x.text("margin") == "averaged" {
      guard x.has("chosen_lengths"), x.has("rejected_lengths") else {
        return .invalid(
          .invalidArgument, "Margins by token need chosen_lengths and rejected_lengths; or set margin to summed.")
      }
      margin = x.logRatio("chosen") / x["chosen_lengths"] - x.logRatio("rejected") / x["rejected_lengths"]
    }
    let mean = margin.meanAll()
    let q =
      x.text("rule") == "code"
      ? clamp(2 * sigmoid(-(x.real("alpha") * mean)), 0.001, 1)
      : clamp(sigmoid(-(x.real("alpha") * x.real("beta") * mean)), 0.01, 1)
    let fixed = q.stopGradient
    return -expm1(fixed * logp) / fixed
  }

  /// -log sigmoid(beta mean_i(policy - reference)(y_i) - alpha (policy - reference)(rejected)), y_i sampled answers.
  static let dispreference = Method(
    "d2o_loss", aliases: ["d2o"], kind: .loss, area: "preference",
    summary: "Moves away from bad answers and stays near a model's own samples.",
    reference: Reference(
      "Duan et al.", 2024,
      "Negating Negatives: Alignment without Human Positive Samples via Distributional Dispreference Optimization",
      arXiv: "2403.03419"),
    parameters: [
      .real("alpha", 0.1, in: .nonNegative, "The factor of the rejected answer."),
      .real("beta", 0.1, in: .nonNegative, "The factor of the samples."),
    ],
    inputs: [
      Input("policy_sample_logps", [.init(["N", "K"])], "Log-probabilities of sampled answers under the policy."),
      Input("reference_sample_logps", [.init(["N", "K"])], "The same under the reference."),
      .logps("policy", "rejected"), .logps("reference", "rejected"),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let samples = (x["policy_sample_logps"] - x["reference_sample_logps"]).mean()
      return softplus(x.real("alpha") * x.logRatio("rejected") - x.real("beta") * samples)
    })

  /// -log sigmoid(beta (u - delta)) + l1_u (masks u of both) + l1_d (masks d of both): u = sum_t m_u lr_t of the chosen
  /// answer less that of the rejected one, delta = sum_t m_d kl_t of the rejected less that of the chosen,
  /// lr_t = log policy - log reference of the token, kl_t = KL(reference || policy) at t.
  static let sparsePreference = Method(
    "sparsepo_loss", aliases: ["sparsepo"], kind: .loss, area: "preference",
    summary: "DPO token by token, with masks for the reward and for the divergence.",
    reference: Reference(
      "Christopoulou et al.", 2024,
      "SparsePO: Controlling Preference Alignment of LLMs via Sparse Token Masks", arXiv: "2410.05102"),
    parameters: [
      .real("beta", 0.1, in: .positive, "The strength of the preference."),
      .real("l1_u", 0, in: .nonNegative, "The price of the reward masks."),
      .real("l1_d", 0, in: .nonNegative, "The price of the divergence masks."),
    ],
    inputs: ["chosen", "rejected"].flatMap { answer in
      let length = answer == "chosen" ? "T" : "U"
      return [
        Input("policy_\(answer)_logits", [.init(["N", length, "V"])], "The policy's scores at each token."),
        Input("reference_\(answer)_logits", [.init(["N", length, "V"])], "The reference's scores."),
        Input("\(answer)_tokens", [.init(["N", length], .index(below: "V"))], "The tokens of the \(answer) answer."),
        Input("\(answer)_reward_mask", [.init(["N", length])], "Weights of the rewards; 0 also for padding."),
        Input("\(answer)_kl_mask", [.init(["N", length])], "Weights of the divergences; 0 also for padding."),
      ]
    },
    properties: ["smooth"],
    implementation: .loss { x in
      func parts(_ answer: String) -> (reward: Expression, divergence: Expression, u: Expression, d: Expression) {
        // A token that neither may say (-inf) costs nothing.
        let policy = x["policy_\(answer)_logits"].bounded.logSoftmax()
        let reference = x["reference_\(answer)_logits"].bounded.logSoftmax()
        let tokens = x["\(answer)_tokens"]
        let ratio = (policy.pick(tokens) - reference.pick(tokens)).squeezed()
        let divergence = (exp(reference) * (reference - policy)).sum().squeezed()
        let (u, d) = (x["\(answer)_reward_mask"], x["\(answer)_kl_mask"])
        return ((u * ratio).sum(), (d * divergence).sum(), abs(u).sum(), abs(d).sum())
      }
      let (w, l) = (parts("chosen"), parts("rejected"))
      let margin = (w.reward - l.reward) - (l.divergence - w.divergence)
      return softplus(-(x.real("beta") * margin)) + x.real("l1_u") * (w.u + l.u) + x.real("l1_d") * (w.d + l.d)
    })

  /// -log sigmoid(r+ - r-) + eta (r+ + r-)^2.
  static let pairwiseReward = Method(
    "reward_ensemble_pairwise", aliases: ["reward_ensemble/pairwise"], kind: .loss, area: "preference",
    summary: "The Bradley-Terry loss of a reward model, with rewards held near 0.",
    reference: Reference(
      "Eisenstein et al.", 2023,
      "Helping or Herding? Reward Model Ensembles Mitigate but do not Eliminate Reward Hacking", arXiv: "2312.09244"),
    parameters: [.real("eta", 0.01, in: .nonNegative, "The factor of the centring term.")],
    inputs: [
      Input("chosen_rewards", [.init(["N"])], "Rewards of the chosen answers."),
      Input("rejected_rewards", [.init(["N"])], "Rewards of the rejected answers."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let (w, l) = (x["chosen_rewards"], x["rejected_rewards"])
      return softplus(l - w) + x.real("eta") * square(w + l)
    })

  static func preferenceLoss(
    _ name: String, aliases: [String] = [], _ summary: String, _ reference: Reference, _ parameters: [Parameter] = [],
    beta: Parameter = .real("beta", 0.1, in: .nonNegative, "The factor of the margin."), further: [Input] = [],
    properties: Set<String>, _ value: @escaping @Sendable (Formula, Expression) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .loss, area: "preference", summary: summary, reference: reference,
      parameters: [beta] + parameters,
      inputs: [
        .logps("policy", "chosen"), .logps("policy", "rejected"), .logps("reference", "chosen"),
        .logps("reference", "rejected"),
      ] + further, properties: properties,
      implementation: .loss { x in value(x, x.real("beta") * x.preferenceMargin) })
  }
}

extension Formula {
  /// log policy - log reference of an answer, (N, 1).
  func logRatio(_ answer: String) -> Expression {
    self["policy_\(answer)_logps"] - self["reference_\(answer)_logps"]
  }

  fileprivate var preferenceMargin: Expression { logRatio("chosen") - logRatio("rejected") }
}

extension Input {
  static func logps(_ model: String, _ answer: String, in domain: Interval = .any) -> Input {
    Input(
      "\(model)_\(answer)_logps", [.init(["N"])], in: domain,
      "Log-probability of the \(answer) answer under the \(model).")
  }

  fileprivate static func reward(_ name: String, _ answer: String) -> Input {
    Input(name, [.init(["N"])], isDifferentiable: false, "The reward model's value of the \(answer) answer.")
  }

  fileprivate static func length(_ name: String, _ answer: String) -> Input {
    Input(
      name, [.init(["N"])], isOptional: true, isDifferentiable: false, in: .positive,
      "Tokens of the \(answer) answer, above 0.")
  }
}
