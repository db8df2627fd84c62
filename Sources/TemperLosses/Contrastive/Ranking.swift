import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let ranking = [mannWhitney]

  /// For each positive, the diagonal: the mean over the off-diagonal scores of all queries of log(1 + exp(-(s_p - s_n) / T)).
  static let mannWhitney = Method(
    "mann_whitney_loss", aliases: ["mann_whitney"], kind: .loss, area: "loss",
    summary: "A smooth bound on the area over the ROC curve, pooled over all queries of a batch.",
    reference: Reference(
      "Mann and Whitney", 1947,
      "On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other"),
    parameters: [.real("temperature", 0.05, in: .positive, "Scores are divided by this.")],
    inputs: [Input("scores", [.init(["N", "N"])], "Queries by documents; the diagonal holds the right ones.")],
    properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let s = x["scores"].bounded / x.real("temperature")
      let n = s.shape[0]
      guard n > 1 else {
        return .invalid(.invalidShape, "Scores of at least two queries are needed: with one there is no negative.")
      }
      let isNegative = 1 - Expression.identity(n).reshaped([n * n, 1])
      let sums = Expression.pairSums(s.diagonal, s.reshaped([n * n, 1]), weights: isNegative) { softplus($0) }
      return sums / Double(n * (n - 1))
    })
}
