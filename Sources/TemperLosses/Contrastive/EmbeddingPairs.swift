import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let pairs = [contrastivePairs, cosineEmbedding, nPairs, circle, proxyAnchor]

  /// d^2 / 2 for pairs of one class, max(0, margin - d)^2 / 2 for others, d = |a - b|.
  static let contrastivePairs = Method(
    "contrastive", aliases: ["contrastive_pairs"], kind: .loss, area: "semi",
    summary: "Pairs that belong together attract, others push until they are a margin apart.",
    reference: Reference(
      "Hadsell, Chopra and LeCun", 2006, "Dimensionality Reduction by Learning an Invariant Mapping"),
    parameters: [.real("margin", 1, in: .nonNegative, "The distance beyond which others do not push.")],
    inputs: [.firstFeatures, .secondFeatures, .isPair], properties: ["nonnegative"],
    implementation: .loss { x in
      let squares = square(x["features_a"] - x["features_b"]).sum()
      let missing = relu(x.real("margin") - squares.safeRoot())
      return 0.5 * x.ifTarget(squares, otherwise: square(missing))
    })

  /// 1 - cos(a, b) for pairs, max(0, cos(a, b) - margin) for others.
  static let cosineEmbedding = Method(
    "cosine_embedding", kind: .loss, area: "semi", summary: "Pairs should point the same way, others should not.",
    reference: Reference(
      "Chopra, Hadsell and LeCun", 2005,
      "Learning a Similarity Metric Discriminatively, with Application to Face Verification"),
    parameters: [.real("margin", 0, in: Interval(-1, 1), "The cosine that others may have.")],
    inputs: [.firstFeatures, .secondFeatures, .isPair], properties: ["nonnegative"],
    implementation: .loss { x in
      let cosine = (x["features_a"].normalizedRows() * x["features_b"].normalizedRows()).sum()
      return x.ifTarget(1 - cosine, otherwise: relu(cosine - x.real("margin")))
    })

  /// log(1 + sum_{j != i} exp(a_i . p_j - a_i . p_i)) + l2 (|a_i|^2 + |p_i|^2) / 4. With classes, j of the class of i are left out.
  static let nPairs = Method(
    "n_pairs", aliases: ["npairs"], kind: .loss, area: "semi",
    summary: "Every anchor should find its positive among those of all other anchors.",
    reference: Reference("Sohn", 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective"),
    parameters: [.real("l2", 0.002, in: .nonNegative, "The factor of the embeddings' lengths.")],
    inputs: [
      Input("anchors", [.init(["N", "D"])], "Embeddings."),
      Input("positives", [.init(["N", "D"])], "An embedding of the same class for each."),
      Input(
        "targets", [.init(["N"], .index(below: nil))], isOptional: true,
        "Class ids, no probabilities: two samples are of one class or not; different ones without them."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let (a, p) = (x["anchors"], x["positives"])
      let lengths = square(a).sum() + square(p).sum()
      let losses = a.pairs(with: p, labels: x.has("targets") ? x.targets : nil) { a, row, p, labels in
        let s = Expression.matmul(a, p, transposeB: true)
        let isOther = labels.isEmpty ? row .!= .iota([1, p.shape[0]]) : labels[0] .!= labels[1]
        return softplus(s.logSumExp(where: isOther) - s.pick(row))
      }
      return losses + x.real("l2") / 4 * lengths
    })

  /// log(1 + sum_p exp(-gamma a_p (s_p - 1 + m)) sum_n exp(gamma a_n (s_n - m))) over the cosines s of an anchor with its class p
  /// and with others n; a_p = max(0, 1 + m - s_p) and a_n = max(0, s_n + m) are constants for the gradient.
  static let circle = Method(
    "circle", aliases: ["circle_loss"], kind: .loss, area: "semi",
    summary: "Every similarity is pushed by how far it is from where it should be.",
    reference: Reference(
      "Sun et al.", 2020, "Circle Loss: A Unified Perspective of Pair Similarity Optimization", arXiv: "2002.10857"),
    parameters: [
      .real("margin", 0.25, in: .unit, "How far from perfect similarities may stay."),
      .real("gamma", 256, in: .positive, "The scale."),
    ],
    inputs: [.features, .groups], properties: ["holds_constants", "nonnegative"],
    implementation: .loss { x in
      let (q, m, gamma) = (x["features"].normalizedRows(), x.real("margin"), x.real("gamma"))
      return q.pairs(with: q, labels: x.targets) { q, row, all, labels in
        let s = Expression.matmul(q, all, transposeB: true)
        let isSame = labels[0] .== labels[1]
        let up = -gamma * (relu(1 + m - s).stopGradient * (s - 1 + m))
        let down = gamma * (relu(s + m).stopGradient * (s - m))
        let positives = up.logSumExp(where: isSame .& (row .!= .iota([1, all.shape[0]])))
        return softplus(positives + down.logSumExp(where: not(isSame)))
      }
    })

  /// The mean over proxies with samples of log(1 + sum_x exp(-alpha (s(x, p) - delta))) over the samples x of their class, plus the mean
  /// over all proxies of log(1 + sum_x exp(alpha (s(x, p) + delta))) over the others; s are cosines.
  static let proxyAnchor = Method(
    "proxy_anchor", kind: .loss, area: "semi",
    summary: "One proxy for each class pulls its samples and pushes the others, the hard ones most.",
    reference: Reference(
      "Kim, Kim, Cho and Kwak", 2020, "Proxy Anchor Loss for Deep Metric Learning", arXiv: "2003.13911"),
    parameters: [
      .real("alpha", 32, in: .positive, "The scale."), .real("delta", 0.1, in: .nonNegative, "The margin."),
    ],
    inputs: [
      .features, Input("proxies", [.init(["C", "D"])], "A row for each class."),
      .classIds(alone: "a proxy pulls a sample or pushes it"),
    ],
    properties: ["batch", "nonnegative"],
    implementation: .loss { x in
      let (alpha, delta) = (x.real("alpha"), x.real("delta"))
      let (proxies, features) = (x["proxies"].normalizedRows(), x["features"].normalizedRows())
      let (classes, n) = (proxies.shape[0], features.shape[0])
      // By proxy: what pulls, what pushes, and whether there are samples.
      let terms = Expression.byRowBlocks(
        rows: [proxies, .iota([classes, 1], axis: 0)], shared: [features, x.targets.reshaped([1, n])], width: n
      ) { row, all in
        let s = Expression.matmul(row[0], all[0], transposeB: true)
        let isOwn = row[1] .== all[1]
        return .concatenate(
          [
            softplus((-alpha * (s - delta)).logSumExp(where: isOwn)),
            softplus((alpha * (s + delta)).logSumExp(where: not(isOwn))), isOwn.maximum(),
          ], axis: 1)
      }
      let sums = (0..<3).map { terms.slice($0..<($0 + 1), axis: 1).sumAll() }
      return (sums[0] / sums[2].stopGradient + sums[1] / Double(classes)).reshaped([1, 1])
    })
}

extension Expression {
  /// Values by row of all pairs of these rows with others, without an array of all pairs: of some rows, which of all they
  /// are, all others, and the labels of the rows (n, 1) and of the others (1, M), or what is shared by all pairs.
  func pairs(
    with others: Expression, labels: Expression? = nil, shared: [Expression] = [],
    _ value: @escaping @Sendable (Expression, _ row: Expression, Expression, [Expression]) -> Expression
  ) -> Expression {
    if let error = error ?? others.error { return .invalid(error) }
    let m = others.shape[0]
    let all = labels.map { [$0.reshaped([1, m])] } ?? shared
    let rows = [self, .iota([shape[0], 1], axis: 0)] + (labels.map { [$0] } ?? [])
    return .byRowBlocks(rows: rows, shared: [others] + all, width: m) { rows, shared in
      value(rows[0], rows[1], shared[0], Array(rows[2...]) + Array(shared[1...]))
    }
  }

  /// The square root; 0 has slope 0.
  func safeRoot() -> Expression {
    let isZero = self .== 0
    return .select(isZero, .constant(0), TemperGraph.sqrt(.select(isZero, .constant(1), self)))
  }
}

extension Input {
  fileprivate static let firstFeatures = Input("features_a", [.init(["N", "D"])], "One embedding a row.")
  fileprivate static let secondFeatures = Input("features_b", [.init(["N", "D"])], "The other embedding of each row.")
  fileprivate static let isPair = Input(
    "targets", [.init(["N"])], isDifferentiable: false, in: .unit,
    "1 if the two belong together, 0 if not, or a probability, 0 to 1.")
  fileprivate static let features = Input("features", [.init(["N", "D"])], "Embeddings, normalised inside.")
  fileprivate static let groups = Input(
    "targets", [.init(["N"], .index(below: nil))], "Class ids, no probabilities: two samples are a pair or not.")
}
