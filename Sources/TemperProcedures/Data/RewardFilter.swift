import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Learns from the part of the data that people would prefer: a reward, learned from ranked examples, chooses the best
/// candidate of each item and then the best items, with room for every kind. Zhang et al., 2023, arXiv 2312.06726.
///
///     r(x) = w x;  w minimises -1 / (items) sum over items of the mean over pairs of log sigmoid(r(better) - r(worse))
///     kept: of each item the best candidate, of those the top keep_fraction, at most cluster_quota times that share of any
///     cluster; or those with r >= mean - deviation of the preferred ranked ones
///
/// A reward of one's own comes as `rewards`.
final class RewardFilter: RecordedProcedure {
  static let method = Method.procedure(
    "reward_model_data_filter", area: "data",
    summary: "Learns from the samples with the largest reward, which is learned from ranked examples.",
    reference: Reference(
      "Zhang et al.", 2023, "Compress & Align: Curating Image-Text Data with Human Knowledge", arXiv: "2312.06726"),
    parameters: [
      .real("keep_fraction", 0.12, in: Interval(0, 1, includesLower: false), "The share of the items that is kept."),
      .choice("rule", ["fraction", "threshold"], "That share, or what is as good as the preferred ranked ones."),
      .integer("clusters", 10, in: 0...100_000, "Kinds of samples, by k-means; 0: no quota."),
      .real("cluster_quota", 2, in: .nonNegative, "Of a cluster at most so many times keep_fraction, at first."),
      .real("ridge", 1, in: .nonNegative, "The weight of |w|^2 / 2 where the reward is learned."),
    ],
    inputs: [
      Input(
        "ranked", [.init(["Q", "K", "F"])], isOptional: true, isDifferentiable: false, "Examples of items, best first."),
      Input(
        "described", [.init(["N", "F"])], isOptional: true, isDifferentiable: false, "What ranked describes; else x."),
      Input(
        "items", [.init(["N"], .index(below: nil))], isOptional: true,
        "Samples of one number are candidates of one item."),
      Input("rewards", [.init(["N"])], isOptional: true, isDifferentiable: false, "Rewards that are known."),
    ],
    state: [
      SampleState("reward", [], "Of mean 0 and variance 1."), SampleState("kept", [], "Whether it is learned from."),
    ], replaces: [.order], RewardFilter.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func prepare(_ training: Training) throws(TemperError) {
    try keepState(training)
    let rows = training.samples.rows
    let described: Matrix
    if let given = rows["described"]?.tensor {
      described = try Matrix(given)
    } else {
      described = try Matrix(training.inputs(0..<training.sampleCount))
    }
    var preferred: [Double] = []
    var rewards: [Double]
    if let known = rows["rewards"] {
      rewards = try known.tensor.array(of: Double.self)
    } else if let ranked = training.samples.whole["ranked"]?.tensor {
      guard ranked.shape.last == described.columns, ranked.shape[1] > 1 else {
        throw TemperError(
          .invalidShape,
          "ranked must be items of two or more candidates of \(described.columns) features; \(ranked.shape) came.")
      }
      let examples = Matrix(
        try ranked.array(of: Double.self), rows: ranked.shape[0] * ranked.shape[1], columns: ranked.shape[2])
      let reward = try learned(examples, ranked.shape[1], training.workers)
      rewards = reward.scores(described)
      preferred = reward.scores(examples.rows((0..<ranked.shape[0]).map { $0 * ranked.shape[1] }))
    } else {
      throw TemperError(.invalidArgument, "Pass ranked examples, \"ranked\", or rewards that are known, \"rewards\".")
    }
    let column = Matrix(rewards, rows: rewards.count, columns: 1)
    let (mean, deviation) = (column.means[0], max(column.deviations(from: column.means)[0], 1e-12))
    rewards = rewards.map { ($0 - mean) / deviation }
    preferred = preferred.map { ($0 - mean) / deviation }
    let kept = try chosen(rewards, preferred, described, training)
    try training.kept("reward").assign(from: try Tensor(rewards, shape: [rewards.count, 1]))
    try training.kept("kept").assign(from: try Tensor(kept.map { $0 ? 1.0 : 0 }, shape: [kept.count, 1]))
  }

  /// Each item counts once, however many pairs it has.
  private func learned(_ examples: Matrix, _ each: Int, _ workers: Workers) throws(TemperError) -> LogisticRegression {
    var pairs: [Double] = []
    for item in stride(from: 0, to: examples.rows, by: each) {
      for better in item..<item + each {
        for worse in (better + 1)..<max(item + each, better + 1) {
          pairs += zip(examples[better], examples[worse]).map { $0 - $1 }
        }
      }
    }
    let count = pairs.count / examples.columns
    let weight = 2 / Double(each * (each - 1))
    return try LogisticRegression(
      Matrix(pairs, rows: count, columns: examples.columns), [Double](repeating: 1, count: count),
      weights: [Double](repeating: weight, count: count), hasBias: false, ridge: arguments.real("ridge"),
      workers: workers)
  }

  private func chosen(
    _ rewards: [Double], _ preferred: [Double], _ described: Matrix, _ training: Training
  ) throws(TemperError) -> [Bool] {
    var candidates = Array(rewards.indices)
    if let items = try training.samples.rows["items"]?.tensor.array(of: Int32.self).map(Double.init) {
      // By item, and within one the first of the largest rewards first.
      let byReward = ascendingOrder(rewards.map { -$0 })
      let order = ascendingOrder(byReward.map { items[$0] }).map { byReward[$0] }
      candidates = order.indices.filter { $0 == 0 || items[order[$0]] != items[order[$0 - 1]] }.map { order[$0] }
    }
    var kept = [Bool](repeating: false, count: rewards.count)
    if arguments.text("rule") == "threshold" {
      guard !preferred.isEmpty else {
        throw TemperError(.invalidArgument, "The rule \"threshold\" needs ranked examples; pass \"ranked\".")
      }
      let column = Matrix(preferred, rows: preferred.count, columns: 1)
      let bound = column.means[0] - column.deviations(from: column.means)[0]
      for sample in candidates where rewards[sample] >= bound { kept[sample] = true }
      guard kept.contains(true) else {
        throw TemperError(.outOfRange, "No sample is as good as the preferred ranked ones; use the rule \"fraction\".")
      }
      return kept
    }
    let share = arguments.real("keep_fraction")
    var left = max(1, Int((share * Double(candidates.count)).rounded()))
    let order = ascendingOrder(candidates.map { -rewards[$0] }).map { candidates[$0] }
    let clusters = min(arguments.integer("clusters"), candidates.count)
    if clusters > 0 {
      let kinds = try KMeans(
        described.rows(candidates), clusters: clusters, restarts: 3, random: training.random("kinds"),
        workers: training.workers
      ).assignment
      var kind = [Int](repeating: 0, count: rewards.count)
      for (sample, at) in zip(candidates, kinds) { kind[sample] = at }
      var room = [Double](repeating: 0, count: clusters)
      for at in kinds { room[at] += arguments.real("cluster_quota") * share }
      for sample in order where left > 0 {
        let at = kind[sample]
        guard room[at] >= 1 else { continue }
        (kept[sample], room[at], left) = (true, room[at] - 1, left - 1)
      }
    }
    for sample in order where left > 0 && !kept[sample] { (kept[sample], left) = (true, left - 1) }
    return kept
  }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    let kept = try training.kept("kept").array(of: Double.self)
    return try PlainProcedure().order(training).filter { kept[Int($0)] == 1 }
  }
}
