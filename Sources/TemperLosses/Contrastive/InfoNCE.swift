import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let contrastive = [infoNCE, decoupledSoftmax]

  /// -log softmax_j(q_i . k_j / temperature)_i: the key of the same row is the positive one. Symmetric: the mean with the
  /// queries' and keys' roles exchanged.
  static let infoNCE = Method(
    "info_nce", aliases: ["nt_xent"], kind: .loss, area: "semi",
    summary: "Every query should find its own key among those of the batch.",
    reference: Reference(
      "van den Oord, Li and Vinyals", 2018, "Representation Learning with Contrastive Predictive Coding",
      arXiv: "1807.03748"),
    parameters: [
      .real("temperature", 0.1, in: .positive, "Similarities are divided by this."),
      .boolean("normalize", true, "Rows are brought to length 1."),
      .boolean("symmetric", false, "Also from keys to queries."),
    ],
    inputs: [
      Input("queries", [.init(["N", "D"])], "One embedding a row."),
      Input("keys", [.init(["N", "D"])], "The other embedding of each row."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let (q, k) =
        x.boolean("normalize") ? (x["queries"].normalizedRows(), x["keys"].normalizedRows()) : (x["queries"], x["keys"])
      let temperature = x.real("temperature")
      func found(_ queries: Expression, among keys: Expression) -> Expression {
        queries.pairs(with: keys) { q, row, k, _ in
          let scores = Expression.matmul(q, k, transposeB: true) / temperature
          return scores.logSumExp() - scores.pick(row)
        }
      }
      let there = found(q, among: k)
      return x.boolean("symmetric") ? 0.5 * (there + found(k, among: q)) : there
    })

  /// decoupled: -(1 / |P|) sum_{p in P} log(e^s_p / (e^s_p + sum_{n not in P} e^s_n)); soft_topk: -(1 / |P|) sum_p log y_p
  /// with y the soft top-k of the scores; combined: their sum. Rows without positives give 0.
  static let decoupledSoftmax = Method(
    "decoupled_softmax_and_soft_topk", aliases: ["decoupled_softmax"], kind: .loss, area: "loss",
    summary: "Retrieval with several right answers, which do not compete with each other.",
    reference: Reference(
      "Gupta et al.", 2024, "Dual-Encoders for Extreme Multi-Label Classification", arXiv: "2310.10636"),
    parameters: [
      .choice("form", ["decoupled", "soft_topk", "combined"], "Which of the losses."),
      .real("temperature", 1, in: .positive, "Scores are divided by this."),
      .integer("k", 5, in: 1 ... .max, "How many answers the soft top-k lets through."),
      .real("alpha", 1, in: .positive, "The sharpness of the soft top-k."),
    ],
    inputs: [
      Input("scores", [.init(["N", "L"])], "A score for every candidate."),
      Input(
        "targets", [.init(["N", "L"], .mask)], "1 for the right ones, no probabilities: they say which scores compete."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      let (s, isPositive) = (x["scores"].bounded / x.real("temperature"), x.targets)
      let share = isPositive / maximum(isPositive.sum(), 1)
      let negatives = s.logSumExp(where: 1 - isPositive)
      let decoupled = (share * softplus(negatives - s)).sum()
      if x.text("form") == "decoupled" { return decoupled }
      let logy = -softplus(-s.softTopkScores(x.integer("k"), x.real("alpha")))
      let topk = -(share * logy).sum()
      return x.text("form") == "soft_topk" ? topk : decoupled + topk
    })
}
