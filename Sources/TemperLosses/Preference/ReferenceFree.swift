import TemperCatalogue
import TemperCore
import TemperGraph

// Preferences without a reference model: l are log-probabilities of answers under the policy.

extension Losses {
  static let referenceFree = [simplePreference, contrastivePreference, oddsRatioPreference]

  /// -log sigmoid(beta (l_chosen / |chosen| - l_rejected / |rejected|) - gamma).
  static let simplePreference = Method(
    "simpo", kind: .loss, area: "preference", summary: "The mean log-probability of a token is the reward.",
    reference: Reference(
      "Meng, Xia and Chen", 2024, "SimPO: Simple Preference Optimization with a Reference-Free Reward",
      arXiv: "2405.14734"),
    parameters: [
      .real("beta", 2, in: .nonNegative, "The factor of the margin."),
      .real("gamma", 0.5, in: .nonNegative, "The margin that is asked for."),
      .real("label_smoothing", 0, in: .unit, "The share of pairs taken to be the wrong way round."),
    ],
    inputs: [
      .logps("policy", "chosen"), .logps("policy", "rejected"), .answerLength("chosen"), .answerLength("rejected"),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let gap = x.meanLogp("chosen") - x.meanLogp("rejected")
      return x.smoothedLogistic(x.real("beta") * gap - x.real("gamma"))
    })

  /// -log sigmoid(beta (l_chosen - l_rejected)) - alpha l_chosen, the latter by token if lengths are given.
  static let contrastivePreference = Method(
    "cpo", kind: .loss, area: "preference",
    summary: "DPO against a uniform reference, with the likelihood of the chosen answer kept up.",
    reference: Reference(
      "Xu et al.", 2024,
      "Contrastive Preference Optimization: Pushing the Boundaries of LLM Performance in Machine Translation",
      arXiv: "2401.08417"),
    parameters: [
      .real("beta", 0.1, in: .nonNegative, "The factor of the margin."),
      .real("alpha", 1, in: .nonNegative, "The factor of the likelihood."),
      .real("label_smoothing", 0, in: .unit, "The share of pairs taken to be the wrong way round."),
    ],
    inputs: [.logps("policy", "chosen"), .logps("policy", "rejected"), .answerLength("chosen")],
    properties: ["smooth"],
    implementation: .loss { x in
      let gap = x["policy_chosen_logps"] - x["policy_rejected_logps"]
      return x.smoothedLogistic(x.real("beta") * gap) - x.real("alpha") * x.meanLogp("chosen")
    })

  /// -m_chosen - lam log sigmoid(log odds(m_chosen) - log odds(m_rejected)), odds of exp(m), m the mean log-probability of a token, below 0.
  static let oddsRatioPreference = Method(
    "orpo", kind: .loss, area: "preference",
    summary: "Fine-tuning on the chosen answer and the odds ratio of both, in one stage.",
    reference: Reference(
      "Hong, Lee and Thorne", 2024, "ORPO: Monolithic Preference Optimization without Reference Model",
      arXiv: "2403.07691"),
    parameters: [.real("lam", 0.1, in: .nonNegative, "The factor of the odds ratio.").named(also: "beta")],
    inputs: [
      // Where odds are finite.
      .logps("policy", "chosen", in: .negative), .logps("policy", "rejected", in: .negative), .answerLength("chosen"),
      .answerLength("rejected"),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let (chosen, rejected) = (x.meanLogp("chosen"), x.meanLogp("rejected"))
      func logOdds(_ m: Expression) -> Expression { m - log(-expm1(m)) }
      return softplus(logOdds(rejected) - logOdds(chosen)) * x.real("lam") - chosen
    })
}

extension Formula {
  /// The mean log-probability of an answer's tokens: what came, where no lengths say otherwise.
  fileprivate func meanLogp(_ answer: String) -> Expression {
    let logp = self["policy_\(answer)_logps"]
    return has("\(answer)_lengths") ? logp / self["\(answer)_lengths"] : logp
  }
}

extension Input {
  fileprivate static func answerLength(_ answer: String) -> Input {
    Input(
      "\(answer)_lengths", [.init(["N"])], isOptional: true, isDifferentiable: false, in: .positive,
      "Tokens of the \(answer) answer; without them log-probabilities come as means over tokens.")
  }
}
