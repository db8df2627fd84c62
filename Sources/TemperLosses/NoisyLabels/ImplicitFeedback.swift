import TemperCatalogue
import TemperGraph

extension Losses {
  static let implicitFeedback = [noisyImplicitFeedback]

  /// s = sigmoid(logit) = P(true 1), g = sigmoid(flip logit) = P(seen 0 | true 1). The negative of
  /// exact: log(s (1 - g)) if seen, log(1 - s + g s) if not; sum: those probabilities themselves;
  /// nbpo: (1 - g) log s + s log(1 - g) if seen, log(1 - s) + g log s + s log g if not, factors held constant.
  static let noisyImplicitFeedback = Method(
    "nbpo", kind: .loss, area: "noisy-labels",
    summary: "Clicks and non-clicks, of which the latter may hide a liking.",
    reference: Reference(
      "Yu and Qin", 2020, "Sampler Design for Implicit Feedback Data by Noisy-label Robust Learning",
      arXiv: "2007.07204"),
    parameters: [.choice("objective", ["nbpo", "exact", "sum"], "The published update, or a likelihood.")],
    inputs: [
      Input("logits", [.init(["N"])], "Scores of the pairs."),
      Input("flip_logits", [.init(["N"])], "Scores of a liking that was not seen."),
      Input(
        "targets", [.init(["N"])], isDifferentiable: false, in: .unit,
        "1 for the pairs that were seen, 0 for others, or a probability, 0 to 1."),
    ],
    properties: ["holds_constants"],
    implementation: .loss { x in
      let (z, c) = (x["logits"], x["flip_logits"])
      let (s, g) = (sigmoid(z), sigmoid(c))
      let (logs, logNotS) = (-softplus(-z), -softplus(z))
      let (logg, logNotG) = (-softplus(-c), -softplus(c))
      switch x.text("objective") {
      case "exact": return -x.ifTarget(logs + logNotG, otherwise: logAdd([logNotS, logg + logs]))
      case "sum": return -x.ifTarget(s * sigmoid(-c), otherwise: sigmoid(-z) + g * s)
      default:
        let seen = sigmoid(-c).stopGradient * logs + s.stopGradient * logNotG
        let unseen = logNotS + g.stopGradient * logs + s.stopGradient * logg
        return -x.ifTarget(seen, otherwise: unseen)
      }
    })
}

/// log of the sum of exp of the parts, element by element; parts may be -inf.
func logAdd(_ parts: [Expression]) -> Expression {
  let top = parts.dropFirst().reduce(parts[0]) { maximum($0, $1) }.stopGradient
  let isEmpty = top .== -.infinity
  let shift = Expression.select(isEmpty, .constant(0), top)
  let sum = parts.map { exp($0 - shift) }.reduce(.constant(0)) { $0 + $1 }
  return .select(isEmpty, .constant(-.infinity), shift + log(.select(isEmpty, .constant(1), sum)))
}
