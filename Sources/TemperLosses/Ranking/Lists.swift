import TemperCatalogue
import TemperCore
import TemperGraph

// Lists of documents: scores and relevances (N, L); where `mask` is 0 a document is padding. A list of padding alone gives 0.
// A score of -inf is the lowest, equal to its like.

extension Losses {
  static let lists = [listNet, listMLE, lambdaRank, approximateNDCG]

  /// -sum_j softmax(relevance)_j log softmax(scores)_j.
  static let listNet = listLoss(
    "listnet", "Cross-entropy of the top-one probabilities that relevances and scores imply.",
    Reference("Cao, Qin, Liu, Tsai and Li", 2007, "Learning to Rank: From Pairwise Approach to Listwise Approach"),
    properties: ["smooth", "shift_invariant", "nonnegative"]
  ) { _, s, relevance, isDocument in
    let p = Expression.select(isDocument, relevance, .constant(-.infinity)).softmax()
    let logq = Expression.select(isDocument, s, .constant(-.infinity)).logSoftmax()
    return -Expression.select(isDocument, p * .select(isDocument, logq, .constant(0)), .constant(0)).sum()
  }

  /// sum_k log sum_{j >= k} exp(s_(j)) - s_(k), documents in the order of their relevance (equal ones as they came): the Plackett-Luce
  /// likelihood of that order.
  static let listMLE = listLoss(
    "listmle", "The negative log-likelihood of the right order, drawn document by document.",
    Reference("Xia, Liu, Wang, Zhang and Li", 2008, "Listwise Approach to Learning to Rank: Theory and Algorithm"),
    properties: ["smooth", "shift_invariant", "nonnegative"]
  ) { _, s, relevance, isDocument in
    let order = Expression.select(isDocument, relevance, .constant(-.infinity)).sortOrder(descending: true)
    let (sorted, isThere) = (s.bounded.takeAlong(order), isDocument.takeAlong(order))
    let rest = Expression.select(isThere, sorted, .constant(-.infinity)).suffixLogSumExp()
    return Expression.select(isThere, .select(isThere, rest, .constant(0)) - sorted, .constant(0)).sum()
  }

  /// sum over i more relevant than j of w_ij log(1 + exp(-sigma (s_i - s_j))): w = |G_i - G_j| |D_i - D_j| / ideal DCG with gains
  /// G = 2^relevance - 1 and discounts D = 1 / log2(1 + rank) of the present order, or 1 (RankNet).
  static let lambdaRank = listLoss(
    "lambda_rank", aliases: ["lambdarank"], "Pairs in the wrong order, weighted by what exchanging them is worth.",
    Reference("Burges, Ragno and Le", 2006, "Learning to Rank with Nonsmooth Cost Functions"),
    [
      .real("sigma", 1, in: .positive, "The slope of the logistic curve."),
      .choice("weighting", ["ndcg", "none"], "What a pair is worth: its effect on NDCG, or 1."),
    ], properties: ["shift_invariant", "nonnegative"], relevance: .nonNegative
  ) { x, scores, relevance, isDocument in
    let s = scores.bounded
    let (sigma, isWeighted) = (x.real("sigma"), x.text("weighting") == "ndcg")
    var facts = [s, relevance, isDocument]
    if isWeighted {
      let ranks = s.byDocument([s, isDocument]) { gaps, isBelow, all in
        // Those in front, of equal ones those that came before.
        let isAbove = ((gaps[0] .< 0) .| ((gaps[0] .== 0) .& isBelow)) .& all[1]
        return 1 + isAbove.sum()
      }
      let gains = relevance.gains(isDocument)
      facts += [(gains / gains.idealDCG()).stopGradient, discount(ranks).stopGradient]
    }
    return s.byDocument(facts) { gaps, _, all in
      // Where both are documents: padding has relevance 0 and is never ahead.
      let isPair = (gaps[1] .> 0) .& all[2]
      let losses = softplus(-sigma * gaps[0])
      let worth = isWeighted ? abs(gaps[3]) * abs(gaps[4]) : .constant(1)
      return Expression.select(isPair, worth * losses, .constant(0)).sum()
    }.sum()
  }

  /// 1 - sum_i G_i / log2(1 + r_i) / ideal DCG, r_i = 1 + sum_{j != i} sigmoid((s_j - s_i) / T).
  static let approximateNDCG = listLoss(
    "approx_ndcg", "One minus the normalised discounted gain, of ranks made smooth.",
    Reference(
      "Qin, Liu and Li", 2010,
      "A General Approximation Framework for Direct Optimization of Information Retrieval Measures"),
    [.real("temperature", 1, in: .positive, "The smaller, the nearer the ranks are to whole numbers.")],
    properties: ["smooth", "shift_invariant", "nonnegative"], relevance: .nonNegative
  ) { x, scores, relevance, isDocument in
    let (s, temperature) = (scores.bounded, x.real("temperature"))
    // A document is half in front of itself.
    let ranks =
      0.5
      + s.byDocument([s, isDocument]) { gaps, _, all in
        Expression.select(all[1], sigmoid(-gaps[0] / temperature), .constant(0)).sum()
      }
    let gains = relevance.gains(isDocument)
    let isRelevant = gains.maximum() .> 0
    return .select(isRelevant, 1 - (gains * discount(ranks)).sum() / gains.idealDCG(), .constant(0))
  }

  private static func listLoss(
    _ name: String, aliases: [String] = [], _ summary: String, _ reference: Reference, _ parameters: [Parameter] = [],
    properties: Set<String>, relevance domain: Interval = .any,
    _ value: @escaping @Sendable (Formula, Expression, Expression, Expression) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .loss, area: "ranking", summary: summary, reference: reference,
      parameters: parameters,
      inputs: [
        Input("scores", [.init(["N", "L"])], "The model's score of every document of a list."),
        Input(
          "targets", aliases: ["relevance"], [.init(["N", "L"])], isDifferentiable: false, in: domain,
          "How relevant each is" + (domain == .any ? "." : ", \(domain.words).")),
        Input("mask", [.init(["N", "L"], .mask)], isOptional: true, "0 for padding."),
      ],
      properties: properties,
      implementation: .loss { x in
        let s = x["scores"]
        guard x.has("mask") else { return value(x, s, x.targets, .constant(1, s.shape)) }
        // A list without documents is computed as if it were full, and then not counted.
        let isEmpty = x["mask"].maximum() .== 0
        let isDocument = x["mask"] .| isEmpty
        let relevance = Expression.select(isDocument, x.targets, .constant(0))
        return .select(isEmpty, .constant(0), value(x, .select(isDocument, s, .constant(0)), relevance, isDocument))
      })
  }

  /// 1 / log2(1 + rank).
  private static func discount(_ ranks: Expression) -> Expression { log(Expression.constant(2)) / log1p(ranks) }
}

extension Expression {
  /// Values (N, L) of documents i, each of the differences v_i - v_j of some values v (N, L) from those of all documents j
  /// of its list, of whether j comes before i, and of the values of all j: without an array of all pairs.
  fileprivate func byDocument(
    _ values: [Expression],
    _ body: @escaping @Sendable (_ gaps: [Expression], _ isBelow: Expression, _ all: [Expression]) -> Expression
  ) -> Expression {
    let (lists, length) = (shape[0], shape[1])
    let rows = values.map(\.transposed) + [.iota([length, 1], axis: 0)]
    return Expression.byRowBlocks(rows: rows, shared: values, width: lists * length) { rows, shared in
      let all = shared.map { $0.expanded(0) }
      let gaps = zip(rows, all).map { $0.expanded(2) - $1 }
      let isBelow = Expression.iota([1, 1, length]) .< rows[rows.count - 1].expanded(2)
      return body(gaps, isBelow, all).squeezed()
    }.transposed
  }

  /// 2^relevance - 1 over 2 to the largest of the list, as only ratios count; 0 for padding.
  fileprivate func gains(_ isDocument: Expression) -> Expression {
    let relevance = Expression.select(isDocument, self, .constant(0))
    let logTwo = TemperGraph.log(Expression.constant(2))
    return exp(logTwo * (relevance - relevance.maximum())) * -expm1(-logTwo * relevance)
  }

  /// The discounted gain of the best order; 1 for lists without gains.
  fileprivate func idealDCG() -> Expression {
    let best = (sorted(descending: true) * (TemperGraph.log(Expression.constant(2)) / log1p(ranks))).sum()
    return .select(best .> 0, best, .constant(1))
  }
}
