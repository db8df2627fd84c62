import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// Of each item the best answer g, the most confusing one h, and how the workers who know are split between them.
///
/// Worker i answers g with p_i q + (1 - p_i) / K, h with p_i (1 - q) + (1 - p_i) / K, others with (1 - p_i) / K.
struct TopTwoFit {
  private(set) var best: [Int]
  private(set) var second: [Int]
  private(set) var split: [Double]
  private(set) var reliability: [Double]

  /// First by the leading singular vectors of K - 1 matrices of signs; then by the likelihood of each pair of answers.
  init(_ votes: Votes, refines: Bool, grid: Int) {
    let (k, tasks, workers) = (votes.classes, votes.items.count, votes.workers)
    let observed = max(Double(votes.items.reduce(0) { $0 + $1.count }) / Double(max(tasks * workers, 1)), 1e-12)
    // Row cuts = 0 ... K of w: differences of neighbouring ones say how far each answer is from chance.
    var cuts = [[Double]](repeating: [Double](repeating: 0, count: tasks), count: k + 1)
    var vectors: [[Double]] = []
    for cut in 1..<k { vectors.append(TopTwoFit.leading(votes, cut, observed)) }
    let u = (0..<workers).map { i in min(max(vectors.reduce(0) { $0 + $1[i] } / Double(k - 1), 0), 1) }
    for cut in 1..<k {
      let shift = observed * Double(k - 2 * cut) / Double(k)
      let whole = u.reduce(0, +) * shift
      for task in 0..<tasks {
        let sum = votes.items[task].reduce(0.0) { $0 + ($1.label < cut ? -1 : 1) * u[$1.worker] }
        cuts[cut][task] = (sum - whole) / (2 * observed)
      }
    }
    (best, second, split) = ([], [], [])
    var depth: [Double] = []
    for task in 0..<tasks {
      let gaps = (0..<k).map { cuts[$0 + 1][task] - cuts[$0][task] }
      let order = ascendingOrder(gaps)
      best.append(order[0])
      second.append(order[1])
      depth.append(gaps[order[0]])
    }
    reliability = votes.answers.map { _ in 0 }
    for worker in 0..<workers {
      let answers = votes.answers[worker]
      let hits = answers.count { $0.label == best[$0.item] || $0.label == second[$0.item] }
      let share = answers.isEmpty ? 2 / Double(k) : Double(hits) / Double(answers.count)
      reliability[worker] = min(max((share - 2 / Double(k)) / (1 - 2 / Double(k)), 0.001), 0.999)
    }
    let length = max(reliability.reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-12)
    split = depth.map { min(max(1 / Double(k) - $0 / length, 0.501), 0.999) }
    guard refines else { return }
    for task in 0..<tasks where !votes.items[task].isEmpty { refine(task, votes, grid) }
  }

  /// The pair of the largest likelihood; then the split of the largest likelihood for it.
  private mutating func refine(_ task: Int, _ votes: Votes, _ grid: Int) {
    let (k, q) = (votes.classes, split[task])
    var (first, other) = ([Double](repeating: 0, count: k), [Double](repeating: 0, count: k))
    for vote in votes.items[task] {
      let odds = Double(k) * reliability[vote.worker] / (1 - reliability[vote.worker])
      first[vote.label] += log(odds * q + 1)
      other[vote.label] += log(odds * (1 - q) + 1)
    }
    var top = -Double.infinity
    for a in 0..<k {
      for b in 0..<k where b != a && first[a] + other[b] > top {
        top = first[a] + other[b]
        (best[task], second[task]) = (a, b)
      }
    }
    guard grid > 1 else { return }
    var likeliest = -Double.infinity
    for step in 0..<grid {
      let trial = 0.501 + (0.999 - 0.501) * Double(step) / Double(grid - 1)
      let likelihood = votes.items[task].reduce(0.0) { sum, vote in
        let p = reliability[vote.worker]
        let share = vote.label == best[task] ? trial : vote.label == second[task] ? 1 - trial : 0
        return sum + log(p * share + (1 - p) / Double(k))
      }
      if likelihood > likeliest { (likeliest, split[task]) = (likelihood, trial) }
    }
  }

  /// The leading left singular vector, with positive sum, of A: workers by tasks, -1 for an answer before the cut, 1 for one
  /// after it, 0 for none, all less observed (K - 2 cut) / K. By power iteration, over the answers alone.
  private static func leading(_ votes: Votes, _ cut: Int, _ observed: Double) -> [Double] {
    let (tasks, workers) = (votes.items.count, votes.workers)
    let shift = observed * Double(votes.classes - 2 * cut) / Double(votes.classes)
    var u = [Double](repeating: 1 / Double(workers).squareRoot(), count: workers)
    for _ in 0..<500 {
      let whole = u.reduce(0, +) * shift
      let right = (0..<tasks).map { task in
        votes.items[task].reduce(-whole) { $0 + ($1.label < cut ? -1 : 1) * u[$1.worker] }
      }
      let all = right.reduce(0, +) * shift
      var next = (0..<workers).map { worker in
        votes.answers[worker].reduce(-all) { $0 + ($1.label < cut ? -1 : 1) * right[$1.item] }
      }
      let length = next.reduce(0) { $0 + $1 * $1 }.squareRoot()
      guard length > 0 else { break }
      next = next.map { $0 / length }
      let change = zip(next, u).reduce(0) { max($0, abs($1.0 - $1.1)) }
      u = next
      if change < 1e-12 { break }
    }
    return u.reduce(0, +) < 0 ? u.map { -$0 } : u
  }
}

extension Crowd {
  private static let reference = Reference(
    "Jeong and Chung", 2022,
    "Recovering Top-Two Answers and Confusion Probability in Multi-Choice Crowdsourcing", arXiv: "2301.00006")

  /// A row of the result has q at the best answer, 1 - q at the most confusing one, and 0 elsewhere.
  static let topTwo = Method(
    "toptwo_crowdsourcing", kind: .op, area: "data",
    summary: "The best and the most confusing answer of each item, as a soft label with two entries.",
    reference: reference, parameters: parameters, inputs: [votes, classCount], check: moreThanTwo,
    implementation: .operation { x in
      result(x, "toptwo_crowdsourcing", shape: [x["votes"].shape[0], x.size("num_classes")]) { fit, classes in
        var rows = [Double](repeating: 0, count: fit.best.count * classes)
        for item in fit.best.indices {
          rows[item * classes + fit.best[item]] = fit.split[item]
          rows[item * classes + fit.second[item]] = 1 - fit.split[item]
        }
        return rows
      }
    })

  static let topTwoReliability = Method(
    "toptwo_crowdsourcing_reliability", aliases: ["toptwo_crowdsourcing/reliability"], kind: .op, area: "data",
    summary: "How often each worker does not guess.", reference: reference, parameters: parameters,
    inputs: [votes, classCount], check: moreThanTwo,
    implementation: .operation { x in
      result(x, "toptwo_crowdsourcing_reliability", shape: [x["votes"].shape[1]]) { fit, _ in fit.reliability }
    })

  private static let parameters: [Parameter] = [
    .boolean("stage2", true, "Choose the two answers by their likelihood after the spectral estimate."),
    .integer(
      "q_grid", 51, in: 0...10_001,
      "Values among which the split is then chosen by likelihood; 0: the spectral one stays."),
  ]

  private static let moreThanTwo: Method.Check = { (inputs, arguments) throws(TemperError) in
    try check(inputs, arguments)
    let classes = try inputs["num_classes"]?.array(of: Int64.self).first ?? 0
    guard (3...4096).contains(classes) else {
      throw TemperError(
        .outOfRange, "Two of the answers must be told from the rest: 3 to 4096 classes; \(classes) came.")
    }
  }

  private static func result(
    _ x: Formula, _ name: String, shape: Shape, _ values: @escaping @Sendable (TopTwoFit, Int) -> [Double]
  ) -> Expression {
    let (classes, refines, grid) = (x.size("num_classes"), x.boolean("stage2"), x.integer("q_grid"))
    let operation = CustomOperation(name: name) { (inputs, result, _) throws(TemperError) in
      let votes = Votes(try inputs[0].array(of: Int32.self), workers: inputs[0].shape[1], classes: classes)
      try result.assign(
        from: try Tensor(values(TopTwoFit(votes, refines: refines, grid: grid), classes), shape: result.shape))
    }
    return .custom(operation, [x["votes"]], shape: shape)
  }
}
