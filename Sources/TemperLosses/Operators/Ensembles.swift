import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let ensembles = [mixedClassifier, rewardEnsemble, textPerplexity, modelSoup]

  /// log((1 - a) softmax(g) + a softmax(h)).
  static let mixedClassifier = Method(
    "mixed_classifier", kind: .op, area: "adversarial",
    summary: "The log-probabilities of an accurate and a robust classifier, mixed.",
    reference: Reference(
      "Bai, Anderson, Kim and Sojoudi", 2024, "Mixing Classifiers to Alleviate the Accuracy-Robustness Trade-Off",
      arXiv: "2311.15165"),
    parameters: [.real("alpha", 0.75, in: .unit, "The share of the robust one.")],
    inputs: [
      Input("accurate_logits", [.init(["...", "C"])], "Scores of the accurate classifier."),
      Input("robust_logits", [.init(["...", "C"])], "Scores of the robust one."),
    ],
    properties: ["smooth", "shift_invariant"],
    implementation: .operation { x in
      let (g, h) = (x["accurate_logits"].logSoftmax(), x["robust_logits"].logSoftmax())
      let alpha = x.real("alpha")
      if alpha == 0 { return g }
      return alpha == 1
        ? h : logAdd([log(Expression.constant(1 - alpha)) + g, log(Expression.constant(alpha)) + h])
    })

  /// Over the members: mean, median, min, or mean - lam times the population deviation (lcb: the same).
  static let rewardEnsemble = Method(
    "reward_ensemble", kind: .op, area: "preference", summary: "One reward from several reward models.",
    reference: pairwiseReward.reference,
    parameters: [
      .choice("aggregate", ["mean", "median", "min", "mean_minus_std", "lcb"], "How they are put together."),
      .real("lam", 1, in: .nonNegative, "The factor of the deviation."),
    ],
    inputs: [Input("rewards", [.init(["M", "N"])], "A row for each reward model.")],
    implementation: .operation { x in
      let r = x["rewards"].transposed
      let (n, m) = (r.shape[0], r.shape[1])
      let value: Expression
      switch x.text("aggregate") {
      case "median":
        let sorted = r.sorted()
        value =
          0.5 * (sorted.slice(((m - 1) / 2)..<((m + 1) / 2), axis: 1) + sorted.slice((m / 2)..<(m / 2 + 1), axis: 1))
      case "min": value = r.minimum()
      case "mean": value = r.mean()
      default:
        let variance = square(r - r.mean()).mean()
        let isZero = variance .== 0
        let deviation = Expression.select(isZero, .constant(0), sqrt(.select(isZero, .constant(1), variance)))
        value = r.mean() - x.real("lam") * deviation
      }
      return value.reshaped([n])
    })

  /// exp(-(1 / T_i) sum_t log p_it) over the tokens of a text that the mask keeps.
  static let textPerplexity = Method(
    "perplexity_filter_and_greedy_soup", aliases: ["perplexity"], kind: .op, area: "data",
    summary: "The perplexity of each text; a filter keeps the lowest ones.", reference: pointsReference,
    inputs: [
      Input("token_log_probs", [.init(["N", "T"])], "Log-probabilities of the tokens."),
      Input("mask", [.init(["N", "T"], .mask)], isOptional: true, "0 for prompt and padding."),
    ],
    properties: ["smooth"],
    implementation: .operation { x in
      let logp = x["token_log_probs"]
      let mask = x.has("mask") ? x["mask"] : .constant(1, logp.shape)
      let sum = Expression.select(mask, logp, .constant(0)).sum()
      return exp(-sum / maximum(mask.sum(), 1)).reshaped([logp.shape[0]])
    })

  /// uniform: the mean of the models; weighted: in proportion to their scores.
  static let modelSoup = Method(
    "perplexity_filter_and_greedy_soup_soup", aliases: ["perplexity_filter_and_greedy_soup/soup", "model_soup"],
    kind: .op,
    area: "data", summary: "The average of models that were fine-tuned from one start.", reference: pointsReference,
    parameters: [.choice("soup", ["uniform", "weighted"], "Equal shares, or in proportion to the scores.")],
    inputs: [
      Input("weights", [.init(["K", "D"])], "The weights of each model, in a row."),
      Input("scores", [.init(["K"])], isOptional: true, "Validation scores, for the weighted form."),
    ],
    implementation: .operation { x in
      let w = x["weights"]
      guard x.text("soup") == "weighted" else { return w.mean(axis: 0).reshaped([w.shape[1]]) }
      guard x.has("scores") else {
        return .invalid(.invalidArgument, "A weighted soup needs the scores of its models.")
      }
      let shares = (x["scores"] / x["scores"].sum()).reshaped([w.shape[0], 1])
      return (shares * w).sum(axis: 0).reshaped([w.shape[1]])
    })

  private static let pointsReference = Reference(
    "Liu et al.", 2024, "POINTS: Improving Your Vision-language Model with Affordable Strategies", arXiv: "2409.04828")
}
