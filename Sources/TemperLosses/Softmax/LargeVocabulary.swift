import TemperCatalogue
import TemperCore
import TemperGraph

// Softmax over very many classes without computing all of them: features (N, D), a table of weights (C, D).

extension Losses {
  static let largeVocabulary = [sampledSoftmax, noiseContrastive, hierarchicalSoftmax, adaptiveSoftmax]

  /// Cross-entropy over the target and the sampled classes of z_c - log(S q_c), q_c the probability with which c is drawn:
  /// draws of the target itself do not count.
  static let sampledSoftmax = Method(
    "sampled_softmax", kind: .loss, area: "softmax",
    summary: "Cross-entropy over a sample of the classes, corrected for how it was drawn.",
    reference: Reference(
      "Jean, Cho, Memisevic and Bengio", 2015, "On Using Very Large Target Vocabulary for Neural Machine Translation",
      arXiv: "1412.2007"),
    parameters: [.boolean("remove_accidental_hits", true, "Draws of a sample's own target do not count.")],
    inputs: .sampledClasses, properties: ["nonnegative"], check: checkProposal,
    implementation: .loss { x in
      let scores = x.sampledScores()
      let isOther = x.boolean("remove_accidental_hits") ? scores.isOther : Expression.constant(1, scores.sampled.shape)
      return softplus(scores.sampled.logSumExp(where: isOther) - scores.own)
    })

  /// -log sigmoid(d_y) - sum_s log sigmoid(-d_s), d_c = z_c - log(S q_c) of S classes drawn from q: the target told from noise.
  static let noiseContrastive = Method(
    "noise_contrastive_estimation", aliases: ["nce_loss"], kind: .loss, area: "softmax",
    summary: "Every class judged by itself: whether it comes from the data or from the noise.",
    reference: Reference(
      "Gutmann and Hyvarinen", 2010,
      "Noise-contrastive estimation: A new estimation principle for unnormalized statistical models"),
    inputs: .sampledClasses, properties: ["nonnegative"], check: checkProposal,
    implementation: .loss { x in
      let scores = x.sampledScores()
      return softplus(-scores.own) + softplus(scores.sampled).sum()
    })

  /// sum_l log(1 + exp(-s_l f . v_l)) over the inner nodes v_l on the way to the target's leaf, s_l = +1 to one side, -1 to the other, 0
  /// for padding.
  static let hierarchicalSoftmax = Method(
    "hierarchical_softmax", kind: .loss, area: "softmax",
    summary: "A class is a leaf of a binary tree, and its probability a product of decisions.",
    reference: Reference("Morin and Bengio", 2005, "Hierarchical Probabilistic Neural Network Language Model"),
    inputs: [
      Input("features", [.init(["N", "D"])], "Features."),
      Input("weights", [.init(["V", "D"])], "A row for each inner node."),
      Input("nodes", [.init(["N", "L"], .index(below: "V"))], "The inner nodes on the way to each sample's class."),
      Input("sides", [.init(["N", "L"])], isDifferentiable: false, "+1 or -1 for each of them; 0 is padding."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let (f, nodes) = (x["features"], x["nodes"])
      let (n, d, depth) = (f.shape[0], f.shape[1], nodes.shape[1])
      let rows = x["weights"].gatherRows(nodes).reshaped([n, depth, d])
      let scores = (rows * f.expanded(1)).sum().squeezed()
      return .select(x["sides"] .== 0, .constant(0), softplus(-x["sides"] * scores)).sum()
    })

  /// log p(c) of a frequent class is its log-softmax among those and one entry for each cluster of rare ones; of a rare
  /// class, that of its cluster plus its log-softmax there, from features projected to fewer dimensions. Where a cluster
  /// is large it is computed for its own samples alone, some at a time.
  static let adaptiveSoftmax = Method(
    "adaptive_softmax", aliases: ["adaptive_log_softmax"], kind: .loss, area: "softmax",
    summary: "Cross-entropy over classes sorted by frequency: rare ones share clusters with few dimensions.",
    reference: Reference(
      "Grave, Joulin, Cisse, Grangier and Jegou", 2017, "Efficient softmax approximation for GPUs", arXiv: "1609.04309"),
    inputs: [
      Input("features", [.init(["N", "D"])], "Features."),
      Input(
        "targets", [.init(["N"], .index(below: nil))],
        "Class ids: head first, then the clusters one after the other; no probabilities: most classes are not computed."
      ),
      Input("head", [.init(["A", "D"])], "A row for each frequent class, then one for each cluster."),
      Input("projection_1", [.init(["P", "D"])], "To the dimensions of the first cluster."),
      Input("tail_1", [.init(["Q", "P"])], "A row for each class of the first cluster."),
      Input("projection_2", [.init(["R", "D"])], isOptional: true, "To those of the second."),
      Input("tail_2", [.init(["S", "R"])], isOptional: true, "A row for each class of the second cluster."),
      Input("projection_3", [.init(["T", "D"])], isOptional: true, "To those of the third."),
      Input("tail_3", [.init(["U", "T"])], isOptional: true, "A row for each class of the third cluster."),
      Input("head_bias", [.init(["A"])], isOptional: true, "A bias for each row of the head."),
    ],
    properties: ["smooth", "nonnegative"],
    check: { (inputs, _) throws(TemperError) in
      guard let ids = inputs["targets"], let head = inputs["head"] else { return }
      let tails = (1...3).compactMap { inputs["tail_\($0)"]?.shape[0] }
      guard head.shape[0] > tails.count else {
        throw TemperError(
          .invalidShape, "head needs a row for a class and one for each of the \(tails.count) clusters.")
      }
      let classes = head.shape[0] - tails.count + tails.reduce(0, +)
      if let bad = try ids.array(of: Int32.self).first(where: { $0 >= classes }) {
        throw TemperError(.outOfRange, "Head and clusters have \(classes) classes, 0 to \(classes - 1); \(bad) came.")
      }
    },
    implementation: .loss { x in
      let tails = (1...3).filter { x.has("tail_\($0)") }
      guard tails == Array((1...3).prefix(tails.count)),
        (1...3).allSatisfy({ x.has("projection_\($0)") == tails.contains($0) })
      else { return .invalid(.invalidArgument, "Each cluster needs its projection and its tail, from the first on.") }
      let f = x["features"]
      let scores = Expression.matmul(f, x["head"], transposeB: true)
      let head = (x.has("head_bias") ? scores + x["head_bias"] : scores).logSoftmax()
      var first = x["head"].shape[0] - tails.count
      let id = x.targets
      var logp = head.pick(.select(id .< Double(first), id, .constant(-1)))
      for (position, tail) in tails.enumerated() {
        let (projection, rows) = (x["projection_\(tail)"], x["tail_\(tail)"])
        let place = id - Double(first)
        let isHere = (place .>= 0) .& (place .< Double(rows.shape[0]))
        let inner = Expression.byRowBlocks(
          rows: [f, .select(isHere, place, .constant(-1))], shared: [projection, rows], width: rows.shape[0],
          chosen: isHere
        ) { row, all in
          let scores = Expression.matmul(.matmul(row[0], all[0], transposeB: true), all[1], transposeB: true)
          return scores.pick(row[1]) - scores.logSumExp()
        }
        let cluster = head.slice(
          (head.shape.last - tails.count + position)..<(head.shape.last - tails.count + position + 1), axis: 1)
        logp = logp + .select(isHere, cluster, .constant(0)) + inner
        first += rows.shape[0]
      }
      return -logp
    })
}

/// A class that was drawn, or is a target, must be one that can be drawn.
@Sendable private func checkProposal(_ inputs: [String: Tensor], _: Arguments) throws(TemperError) {
  guard let q = try inputs["proposal"]?.array(of: Double.self) else { return }
  for name in ["targets", "sampled_classes"] {
    let ids = try inputs[name]?.array(of: Int64.self) ?? []
    if let bad = ids.first(where: { q.indices.contains(Int($0)) && !(q[Int($0)] > 0) }) {
      throw TemperError(.outOfRange, "Class \(bad) of \(name) has no chance to be drawn: its proposal must be above 0.")
    }
  }
}

extension [Input] {
  fileprivate static let sampledClasses: [Input] = [
    Input("features", [.init(["N", "D"])], "Features."),
    Input("weights", [.init(["C", "D"])], "A row for each class."),
    .classIds(alone: "most classes are not computed"),
    Input("sampled_classes", [.init(["S"], .index(below: "C"))], "Classes drawn, the same for all samples."),
    Input("proposal", [.init(["C"])], isDifferentiable: false, "The probability with which each class is drawn."),
    Input("bias", [.init(["C"])], isOptional: true, "A bias for each class."),
  ]
}

extension Formula {
  /// z_c - log(S q_c) of each sample's target, (N, 1), and of the sampled classes, (N, S); which of them are not the target.
  fileprivate func sampledScores() -> (own: Expression, sampled: Expression, isOther: Expression) {
    let (f, table, drawn) = (self["features"], self["weights"], self["sampled_classes"])
    let (n, d, count) = (f.shape[0], f.shape[1], drawn.shape[0])
    let classes = table.shape[0]
    var offsets = -log(Double(count) * self["proposal"])
    if has("bias") { offsets = offsets + self["bias"] }
    let column = offsets.reshaped([classes, 1])
    let own = (f * table.gatherRows(targets).reshaped([n, d])).sum() + column.gatherRows(targets).reshaped([n, 1])
    let rows = table.gatherRows(drawn).reshaped([count, d])
    let sampled = Expression.matmul(f, rows, transposeB: true) + column.gatherRows(drawn).reshaped([1, count])
    return (own, sampled, targets .!= drawn.reshaped([1, count]))
  }
}
