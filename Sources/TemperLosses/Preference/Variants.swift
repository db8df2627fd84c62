import TemperCatalogue
import TemperCore
import TemperGraph

// Further losses of the four log-probabilities of DPO; r = policy - reference of an answer, h = beta (r_chosen - r_rejected).

extension Losses {
  static let preferenceVariants = [
    conservativePreference, exactPreference, selfPlayPreference, binaryClassifier, optimalTransportPreference,
  ]

  /// -(1 - e) log sigmoid(h) - e log sigmoid(-h).
  static let conservativePreference = preferenceLoss(
    "cdpo", "DPO that takes a share of the pairs to be the wrong way round.",
    Reference("Mitchell", 2023, "A note on DPO with noisy preferences and relationship to IPO"),
    [
      .real("label_smoothing", 0.1, in: .unit, "The share of pairs taken to be the wrong way round.").named(also: "eps")
    ],
    properties: ["smooth", "nonnegative"]
  ) { x, h in x.smoothedLogistic(h) }

  /// KL((sigmoid(h), sigmoid(-h)) || (1 - e, e)).
  static let exactPreference = preferenceLoss(
    "exo", "The reverse divergence from the preferences: the policy settles on one mode.",
    Reference(
      "Ji, Lu, Niu, Ke, Wang, Zhu, Tang and Huang", 2024,
      "Towards Efficient Exact Optimization of Language Model Alignment",
      arXiv: "2402.00856"),
    [
      .real(
        "label_smoothing", 0.001, in: Interval(0, 1, includesLower: false, includesUpper: false),
        "The share of pairs taken to be the wrong way round."
      ).named(also: "eps")
    ],
    properties: ["smooth", "nonnegative"]
  ) { x, h in
    let e = Expression.constant(x.real("label_smoothing"))
    let near = h.bounded  // what is certain counts nothing
    return sigmoid(h) * (-softplus(-near) - log(1 - e)) + sigmoid(-h) * (-softplus(near) - log(e))
  }

  /// (r_chosen - 1 / (2 beta))^2 + (r_rejected + 1 / (2 beta))^2.
  static let selfPlayPreference = preferenceLoss(
    "sppo", aliases: ["sppo_hard"], "Each answer's log-ratio is drawn to a value of its own.",
    Reference(
      "Wu, Sun, Yuan, Ji, Yang and Gu", 2024, "Self-Play Preference Optimization for Language Model Alignment",
      arXiv: "2405.00675"),
    beta: .real("beta", 0.1, in: .positive, "Half the inverse of the value."), properties: ["smooth", "nonnegative"]
  ) { x, _ in
    let goal = 0.5 / x.real("beta")
    return square(x.logRatio("chosen") - goal) + square(x.logRatio("rejected") + goal)
  }

  /// -log sigmoid(beta r_chosen - d) - log sigmoid(d - beta r_rejected), d the mean of all rewards beta r of the batch, a constant.
  static let binaryClassifier = preferenceLoss(
    "bco", aliases: ["bco_pair"], "Rewards above their running mean for chosen answers, below it for rejected ones.",
    Reference(
      "Jung, Han, Nam and On", 2024, "Binary Classifier Optimization for Large Language Model Alignment",
      arXiv: "2404.04656"),
    further: [
      Input(
        "reward_shift", [.init([])], isOptional: true, isDifferentiable: false,
        "The running mean of the rewards; the batch's without it.")
    ],
    properties: ["holds_constants", "smooth", "nonnegative"]
  ) { x, _ in
    let (chosen, rejected) = (x.real("beta") * x.logRatio("chosen"), x.real("beta") * x.logRatio("rejected"))
    let mean = (0.5 * (chosen.bounded + rejected.bounded)).meanAll().stopGradient
    let shift = x.has("reward_shift") ? x["reward_shift"] : mean
    return softplus(shift - chosen) + softplus(rejected - shift)
  }

  /// The mean of -(1 - e) log sigmoid(beta d_k) - e log sigmoid(-beta d_k), d_k = a_(k) - b_(k) of two sorted samples: paired, the policy's and
  /// the reference's margins; unpaired, r of the chosen and of the rejected answers.
  static let optimalTransportPreference = preferenceLoss(
    "aot", "The whole distribution of chosen rewards should lie above that of rejected ones.",
    Reference(
      "Melnyk, Mroueh, Belgodere, Rigotti, Nitsure, Yurochkin, Greenewald, Navratil and Ross", 2024,
      "Distributional Preference Alignment of LLMs via Optimal Transport", arXiv: "2406.05882"),
    [
      .choice("form", ["paired", "unpaired"], "Margins of pairs, or answers that need not belong together."),
      .real("label_smoothing", 0, in: .unit, "The share of pairs taken to be the wrong way round."),
    ],
    properties: ["batch", "nonnegative"]
  ) { x, _ in
    func sorted(_ values: Expression) -> Expression { values.reshaped([1, values.shape.count]).sorted() }
    let gaps: Expression
    if x.text("form") == "paired" {
      gaps =
        sorted(x["policy_chosen_logps"] - x["policy_rejected_logps"])
        - sorted(x["reference_chosen_logps"] - x["reference_rejected_logps"])
    } else {
      gaps = sorted(x.logRatio("chosen")) - sorted(x.logRatio("rejected"))
    }
    return x.smoothedLogistic(x.real("beta") * gaps).mean()
  }
}

extension Formula {
  /// -(1 - e) log sigmoid(h) - e log sigmoid(-h), e the label smoothing.
  func smoothedLogistic(_ h: Expression) -> Expression {
    let e = real("label_smoothing")
    return (1 - e) * softplus(-h) + e * softplus(h)
  }
}
