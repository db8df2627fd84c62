import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let experts = [diverseExperts, expertAggregation, proportionalOdds]

  /// CE(v1) + CE(v2 + log pi) + CE(v3 + log pi - lam log pi~), pi~ the prior with its ranks reversed.
  static let diverseExperts = Method(
    "sade_diverse_experts", aliases: ["sade"], kind: .loss, area: "imbalance",
    summary: "Three heads for three test distributions: as in training, uniform, and reversed.",
    reference: Reference(
      "Zhang, Hooi, Hong and Feng", 2022,
      "Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition", arXiv: "2107.09249"),
    parameters: [.real("lam", 2, in: .nonNegative, "How far the third head leans to the rare classes.")],
    inputs: [
      Input("logits_forward", [.init(["N", "C"])], "Scores of the first head."),
      Input("logits_uniform", [.init(["N", "C"])], "Scores of the second head."),
      Input("logits_backward", [.init(["N", "C"])], "Scores of the third head."),
      // Above 0: the third head leans to rare classes.
      .targets, .classPriors(in: .positive),
    ],
    properties: ["smooth"],
    implementation: .loss { x in
      let prior = x["class_priors"]
      let (k, log1) = (prior.shape[0], log(prior))
      // The rank of each class from the largest; equal priors keep class order.
      let (mine, others) = (prior.reshaped([k, 1]), prior.reshaped([1, k]))
      let earlier = Expression.iota([k, k], axis: 1) .< .iota([k, k], axis: 0)
      let rank = ((others .> mine) .| ((others .== mine) .& earlier)).sum()
      let ascending = others.sorted().broadcast(to: [k, k])
      let reversed = ascending.pick(rank).reshaped([k])
      return x.crossEntropy(x["logits_forward"]) + x.crossEntropy(x["logits_uniform"] + log1)
        + x.crossEntropy(x["logits_backward"] + log1 - x.real("lam") * log(reversed))
    })

  /// Minus the similarity of softmax(sum_e w_e v_e) under two views, w = softmax(omega): what is trained at test time.
  static let expertAggregation = Method(
    "sade_diverse_experts_aggregation", aliases: ["sade_diverse_experts/aggregation"], kind: .loss, area: "imbalance",
    summary: "The weights of experts under which two views of a sample agree.", reference: diverseExperts.reference,
    parameters: [.choice("similarity", ["cosine", "dot"], "The public code's, or the paper's inner product.")],
    inputs: [
      Input("omega", [.init(["E"])], "A score for each expert."),
      Input("logits_1", [.init(["E", "N", "C"])], "The experts' scores for the first view."),
      Input("logits_2", [.init(["E", "N", "C"])], "The same for the second view."),
    ],
    properties: ["smooth"],
    implementation: .loss { x in
      let w = x["omega"].softmax().reshaped([x["omega"].shape[0], 1, 1])
      func mixed(_ name: String) -> Expression { (w * x[name].bounded).sum(axis: 0).squeezed(0).softmax() }
      let (a, b) = (mixed("logits_1"), mixed("logits_2"))
      return x.text("similarity") == "cosine" ? -(a.normalizedRows() * b.normalizedRows()).sum() : -(a * b).sum()
    })

  /// -log(F_y - F_{y-1}), infinite where cuts cross, F_k = sigmoid(a_k + x . b_k), plus for every sample
  /// lam (sum |b_1| + sum |b_k - b_{k-1}|).
  static let proportionalOdds = Method(
    "presto_ordinal", aliases: ["presto"], kind: .loss, area: "imbalance",
    summary: "Ordered classes with a weight vector for each cut, drawn towards a common one.",
    reference: Reference(
      "Faletto and Bien", 2023, "Predicting Rare Events by Shrinking Towards Proportional Odds", arXiv: "2306.00077"),
    parameters: [
      .real("lam", 0.1, in: .nonNegative, "The factor of the penalty."),
      .boolean("penalize_first", true, "The first weight vector is penalised too."),
    ],
    inputs: [
      Input("features", [.init(["N", "D"])], "Features."),
      Input(
        "targets", [.init(["N"], .index(below: nil)), .init(["N", "C"])], isDifferentiable: false,
        "Classes 0 to K, in order, or a probability for each."),
      Input("thresholds", [.init(["K"])], "The cuts, increasing: one less than there are classes."),
      Input("weights", [.init(["K", "D"])], "A weight vector for each cut."),
    ],
    check: { (inputs, _) throws(TemperError) in
      guard let targets = inputs["targets"], let cuts = inputs["thresholds"] else { return }
      if targets.dtype.isFloating {
        guard targets.shape.last == cuts.count + 1 else {
          throw TemperError(
            .invalidShape,
            "With \(cuts.count) thresholds there are \(cuts.count + 1) classes; targets have \(targets.shape.last).")
        }
      } else if let bad = try targets.array(of: Int32.self).first(where: { $0 > cuts.count }) {
        throw TemperError(.outOfRange, "With \(cuts.count) thresholds the classes are 0 to \(cuts.count); \(bad) came.")
      }
      let values = try cuts.array(of: Double.self)
      if let bad = values.indices.dropFirst().first(where: { values[$0] < values[$0 - 1] }) {
        throw TemperError(.outOfRange, "thresholds must be increasing; element \(bad) is below the one before it.")
      }
    },
    implementation: .loss { x in
      let b = x["weights"]
      let (n, cuts) = (x["features"].shape[0], b.shape[0])
      let eta = Expression.matmul(x["features"], b, transposeB: true) + x["thresholds"]
      func own(_ values: Expression) -> Expression { x.targets.kind == .index ? values.pick(x.targets) : values }
      let upper = own(.concatenate([eta, .constant(.infinity, [n, 1])], axis: 1))
      let lower = own(.concatenate([.constant(-.infinity, [n, 1]), eta], axis: 1))
      // F_y - F_{y-1} = sigmoid(u) sigmoid(-l) (1 - exp(l - u)): nothing cancels, nothing vanishes far out.
      let gap = lower - upper
      let inside = log(-expm1(.select(gap .< 0, gap, .constant(-1))))
      let loss = softplus(-upper) + softplus(lower) - .select(gap .< 0, inside, .constant(-.infinity))
      var penalty = cuts > 1 ? abs(b.slice(1..<cuts) - b.slice(0..<(cuts - 1))).sumAll() : .constant(0)
      if x.boolean("penalize_first") { penalty = penalty + abs(b.slice(0..<1)).sumAll() }
      return x.real("lam") * penalty + (x.targets.kind == .index ? loss : x.expectation(loss))
    })
}
