import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// The best of a pool of candidates by cheap proxies and few evaluations, as a function of what is known: it says which
/// candidate to evaluate next.
extension Optimizers {
  /// Weights lambda in [-1, 1]^K of the proxies, each scaled to [0, 1] over the pool, are searched by Bayesian optimisation:
  /// the value of lambda is the accuracy of the candidate whose weighted sum is largest. When as many weights were tried as
  /// the budget has evaluations, what is left of it goes to the next candidates in the order of the best weights.
  static let metricCombinationSearch = Method(
    "robot_metric_combination_search", aliases: ["robot"], kind: .metric, area: "regularize",
    summary: "Which candidate of a pool to evaluate next, given proxies of all and the accuracies of some.",
    reference: Reference(
      "He et al.", 2024, "Robustifying and Boosting Training-Free Neural Architecture Search", arXiv: "2403.07591"),
    parameters: [
      .integer("budget", 20, in: 1...10_000, "Evaluations in all."),
      .choice("acquisition", ["ucb", "ei", "random"], "How the next weights are chosen."),
      .real("kappa", 2, in: .nonNegative, "Standard deviations of ucb."),
      .integer("candidates", 256, in: 1...100_000, "Weights among which each choice is made."),
      .seed,
    ],
    inputs: [
      Input("proxies", [.init(["N", "K"])], "What each proxy says of each candidate."),
      Input("accuracies", [.init(["N"])], "Of those evaluated; NaN of the others."),
    ],
    implementation: .operation { x in
      var settings = CombinationSearch.Settings()
      (settings.budget, settings.seed) = (x.integer("budget"), x.integer("seed"))
      (settings.acquisition, settings.kappa) = (x.text("acquisition"), x.real("kappa"))
      settings.candidates = x.integer("candidates")
      let search = CustomOperation(name: "metric combination") { [settings] (inputs, output, _) throws(TemperError) in
        let (count, metrics) = (inputs[0].shape[0], inputs[0].shape[1])
        let answer = CombinationSearch(
          settings, proxies: try inputs[0].array(of: Double.self), count: count, metrics: metrics,
          accuracies: try inputs[1].array(of: Double.self)
        ).run()
        try output.assign(from: try Tensor([Double(answer.next), Double(answer.best)]))
      }
      return .custom(search, [x["proxies"], x["accuracies"].reshaped([x["proxies"].shape[0]])], shape: [2])
    })
}

/// Plays the search from its beginning with the accuracies that are known, until one is missing.
private struct CombinationSearch {
  struct Settings: Sendable {
    var budget = 0, seed = 0, candidates = 0
    var acquisition = "", kappa = 0.0
  }

  private let settings: Settings
  private let scaled: [[Double]]
  private let accuracies: [Double]

  init(_ settings: Settings, proxies: [Double], count: Int, metrics: Int, accuracies: [Double]) {
    (self.settings, self.accuracies) = (settings, accuracies)
    var rows = (0..<count).map { Array(proxies[$0 * metrics..<($0 + 1) * metrics]) }
    for metric in 0..<metrics {
      let values = rows.map { $0[metric] }
      let (low, high) = (values.min() ?? 0, values.max() ?? 0)
      for index in rows.indices { rows[index][metric] = high > low ? (values[index] - low) / (high - low) : 0 }
    }
    scaled = rows
  }

  /// The next candidate, or -1 when the budget is used up or all are known; and the best that is known, or -1.
  func run() -> (next: Int, best: Int) {
    var tried: [(weights: [Double], value: Double)] = []
    var seen: [Int] = []
    func best() -> Int { seen.max { (accuracies[$0], $1) < (accuracies[$1], $0) } ?? -1 }
    guard let metrics = scaled.first?.count else { return (-1, -1) }
    let root = Random(seed: UInt64(bitPattern: Int64(settings.seed)), stream: "metric combination")
    for query in 0..<settings.budget where seen.count < settings.budget {
      var random = root.stream(query)
      let weights =
        query == 0 ? [Double](repeating: 1, count: metrics) : choose(tried, metrics, &random)
      let candidate = top(weights) ?? 0
      if !seen.contains(candidate) {
        if accuracies[candidate].isNaN { return (candidate, best()) }
        seen.append(candidate)
      }
      tried.append((weights, accuracies[candidate]))
    }
    // Of equal values the latest weights.
    var (winner, value) = ([Double](repeating: 1, count: metrics), -Double.infinity)
    for entry in tried where entry.value >= value { (winner, value) = (entry.weights, entry.value) }
    while seen.count < settings.budget, let candidate = top(winner, without: seen) {
      if accuracies[candidate].isNaN { return (candidate, best()) }
      seen.append(candidate)
    }
    return (-1, best())
  }

  /// The candidate with the largest weighted sum, of equal ones the first.
  private func top(_ weights: [Double], without seen: [Int] = []) -> Int? {
    var found: (score: Double, index: Int)?
    for (index, row) in scaled.enumerated() where !seen.contains(index) {
      let score = inner(row, weights)
      if score > found?.score ?? -.infinity { found = (score, index) }
    }
    return found?.index
  }

  private func choose(_ tried: [(weights: [Double], value: Double)], _ metrics: Int, _ random: inout Random) -> [Double]
  {
    func draw() -> [Double] { (0..<metrics).map { _ in 2 * random.uniform() - 1 } }
    var chosen = draw()
    guard settings.acquisition != "random", let process = GaussianProcess(tried) else { return chosen }
    let top = tried.map(\.value).max() ?? 0
    var most = -Double.infinity
    for _ in 0..<settings.candidates {
      let weights = draw()
      let (mean, deviation) = process.predict(weights)
      let gain: Double
      if settings.acquisition == "ei" {
        let z = deviation > 0 ? (mean - top) / deviation : 0
        gain =
          (mean - top) * 0.5 * erfc(-z / 2.0.squareRoot())
          + deviation * exp(-0.5 * z * z) / (2 * Double.pi).squareRoot()
      } else {
        gain = mean + settings.kappa * deviation
      }
      if gain > most { (chosen, most) = (weights, gain) }
    }
    return chosen
  }
}

/// Of values at points, with the kernel s^2 exp(-|a - b|^2 / 2) around their mean and a little noise.
private struct GaussianProcess {
  private let points: [[Double]]
  private let factor: [[Double]]
  private let weights: [Double]
  private let mean: Double, variance: Double

  init?(_ data: [(weights: [Double], value: Double)]) {
    guard !data.isEmpty else { return nil }
    points = data.map(\.weights)
    let values = data.map(\.value)
    let mean = values.reduce(0, +) / Double(values.count)
    let spread = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
    let variance = max(spread, 1e-8)
    (self.mean, self.variance) = (mean, variance)
    var factor: [[Double]] = []
    for i in points.indices {
      var row = [Double](repeating: 0, count: i + 1)
      for j in 0...i {
        var sum = variance * GaussianProcess.kernel(points[i], points[j]) + (i == j ? 1e-4 * variance : 0)
        for k in 0..<j { sum -= row[k] * (j == i ? row[k] : factor[j][k]) }
        row[j] = i == j ? max(sum, 1e-300).squareRoot() : sum / factor[j][j]
      }
      factor.append(row)
    }
    self.factor = factor
    let half = GaussianProcess.forward(factor, values.map { $0 - mean })
    var weights = half
    for i in weights.indices.reversed() {
      for k in weights.indices where k > i { weights[i] -= factor[k][i] * weights[k] }
      weights[i] /= factor[i][i]
    }
    self.weights = weights
  }

  func predict(_ point: [Double]) -> (mean: Double, deviation: Double) {
    let near = points.map { variance * GaussianProcess.kernel($0, point) }
    let half = GaussianProcess.forward(factor, near)
    let left = variance - half.reduce(0) { $0 + $1 * $1 }
    return (mean + inner(near, weights), max(left, 0).squareRoot())
  }

  private static func kernel(_ a: [Double], _ b: [Double]) -> Double {
    exp(-0.5 * zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) })
  }

  private static func forward(_ factor: [[Double]], _ right: [Double]) -> [Double] {
    var result = right
    for i in result.indices {
      for k in 0..<i { result[i] -= factor[i][k] * result[k] }
      result[i] /= factor[i][i]
    }
    return result
  }
}
