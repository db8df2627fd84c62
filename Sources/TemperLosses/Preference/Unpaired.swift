import TemperCatalogue
import TemperGraph

extension Losses {
  static let unpaired = [prospectPreference]

  /// lambda_d (1 - sigmoid(beta (r - z))) for desirable answers, lambda_u (1 - sigmoid(beta (z - r))) for others, r = policy - reference and
  /// z = max(0, mean of r over answers of other prompts), a constant.
  static let prospectPreference = Method(
    "kto", kind: .loss, area: "preference",
    summary: "Answers that are each desirable or not, without pairs: gains and losses from a reference point.",
    reference: Reference(
      "Ethayarajh, Xu, Muennighoff, Jurafsky and Kiela", 2024,
      "KTO: Model Alignment as Prospect Theoretic Optimization",
      arXiv: "2402.01306"),
    parameters: [
      .real("beta", 0.1, in: .nonNegative, "How fast gains and losses saturate."),
      .real("desirable_weight", 1, in: .nonNegative, "lambda of desirable answers."),
      .real("undesirable_weight", 1, in: .nonNegative, "lambda of the others."),
    ],
    inputs: [
      Input("policy_logps", [.init(["N"])], "Log-probabilities of the answers under the policy."),
      Input("reference_logps", [.init(["N"])], "The same under the reference."),
      Input(
        "targets", [.init(["N"])], isDifferentiable: false, in: .unit,
        "1 for desirable answers, 0 for others, or a probability, 0 to 1."),
      Input(
        "policy_kl_logps", [.init(["N"])], isOptional: true, isDifferentiable: false,
        "Log-probabilities of answers to other prompts; without them the reference point is 0."),
      Input(
        "reference_kl_logps", [.init(["N"])], isOptional: true, isDifferentiable: false, "The same under the reference."
      ),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      guard x.has("policy_kl_logps") == x.has("reference_kl_logps") else {
        return .invalid(.invalidArgument, "policy_kl_logps and reference_kl_logps come together, or neither does.")
      }
      let point =
        x.has("policy_kl_logps")
        ? maximum((x["policy_kl_logps"] - x["reference_kl_logps"]).meanAll(), 0) : Expression.constant(0)
      let gain = x.real("beta") * (x["policy_logps"] - x["reference_logps"] - point)
      return x.ifTarget(
        x.real("desirable_weight") * sigmoid(-gain), otherwise: x.real("undesirable_weight") * sigmoid(gain))
    })
}
