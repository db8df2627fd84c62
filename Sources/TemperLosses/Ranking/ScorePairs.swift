import TemperCatalogue
import TemperGraph

extension Losses {
  static let rankingPairs = [bayesianPersonalized, marginRanking, aucMargin]

  /// -log sigmoid(s+ - s-).
  static let bayesianPersonalized = Method(
    "bpr", aliases: ["bayesian_personalized_ranking"], kind: .loss, area: "ranking",
    summary: "What a user chose should score above what was not chosen.",
    reference: Reference(
      "Rendle, Freudenthaler, Gantner and Schmidt-Thieme", 2009,
      "BPR: Bayesian Personalized Ranking from Implicit Feedback", arXiv: "1205.2618"),
    inputs: [
      Input("positive_scores", [.init(["N"])], "Scores of what was chosen."),
      Input("negative_scores", [.init(["N"])], "Scores of what was not."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in softplus(x["negative_scores"] - x["positive_scores"]) })

  /// max(0, margin - (a - b)) if a should be ahead, else max(0, margin - (b - a)).
  static let marginRanking = Method(
    "margin_ranking", kind: .loss, area: "ranking", summary: "Zero once the better score leads by the margin.",
    reference: Reference(
      "Herbrich, Graepel and Obermayer", 2000, "Large Margin Rank Boundaries for Ordinal Regression"),
    parameters: [.real("margin", 0, in: .nonNegative, "The lead that is asked for.")],
    inputs: [
      Input("scores_a", [.init(["N"])], "First scores."), Input("scores_b", [.init(["N"])], "Second scores."),
      Input(
        "targets", [.init(["N"])], isDifferentiable: false, in: .unit,
        "1 if the first should be ahead, 0 if the second, or a probability, 0 to 1."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      let lead = x["scores_a"] - x["scores_b"]
      return x.ifTarget(relu(x.real("margin") - lead), otherwise: relu(x.real("margin") + lead))
    })

  /// (1 - r) (s - a)^2 y + r (s - b)^2 (1 - y) + 2 alpha (r (1 - r) m + r s (1 - y) - (1 - r) s y) - r (1 - r) alpha^2, r the share of
  /// positives. Scores, a and b minimise, alpha >= 0 maximises: its gradient is followed upwards.
  static let aucMargin = Method(
    "auc_margin", aliases: ["auc_margin_loss"], kind: .loss, area: "ranking",
    summary: "A saddle point whose solution orders positives above negatives by a margin: no pairs are formed.",
    reference: Reference(
      "Yuan, Yan, Sonka and Yang", 2021,
      "Large-scale Robust Deep AUC Maximization: A New Surrogate Loss and Empirical Studies on Medical Image Classification",
      arXiv: "2012.03173"),
    parameters: [
      .real("margin", 1, in: .nonNegative, "The lead of positives that is asked for."),
      .optionalReal(
        "positive_share", in: Interval(0, 1, includesLower: false, includesUpper: false),
        "The share of positives in the training set; none takes the batch's."),
    ],
    inputs: [
      Input("scores", [.init(["N"])], "Finite scores; between 0 and 1 as the authors have them."),
      Input(
        "targets", [.init(["N"])], isDifferentiable: false, in: .unit,
        "1 for positives, 0 for others, or a probability, 0 to 1."),
      Input("a", [.init([])], isOptional: true, "The mean of positives, learnt along; the batch's without it."),
      Input("b", [.init([])], isOptional: true, "The mean of negatives, learnt along; the batch's without it."),
      Input(
        "alpha", [.init([])], isOptional: true,
        "The dual variable, 0 or more; max(0, margin + b - a), the best, without it."),
    ],
    implementation: .loss { x in
      let (s, y) = (x["scores"], x.targets)
      // The mean of the scores that weigh w; 0 where none do.
      func mean(_ w: Expression) -> Expression {
        let count = w.sumAll()
        return (w * s).sumAll() / .select(count .== 0, .constant(1), count)
      }
      let a = x.has("a") ? x["a"] : mean(y)
      let b = x.has("b") ? x["b"] : mean(1 - y)
      let alpha = x.has("alpha") ? x["alpha"] : relu(x.real("margin") + b - a)
      let r = x.optionalReal("positive_share").map { Expression.constant($0) } ?? y.meanAll()
      let scatter = (1 - r) * square(s - a) * y + r * square(s - b) * (1 - y)
      let gap = r * (1 - r) * x.real("margin") + r * s * (1 - y) - (1 - r) * s * y
      return scatter + 2 * alpha * gap - r * (1 - r) * square(alpha)
    })
}
