import Glibc
import TemperCatalogue
import TemperCore
import TemperData
import TemperNetworks

/// The automatic mode: tries a few ways to train on the data as they are, keeps the one that does best on samples it did
/// not learn from, and says what it found.
///
/// Given labels are all there is to judge by. Where wrong labels fall evenly, accuracy by given labels grows with accuracy
/// by true ones, so the better approach is the better one by both. With few samples the error of such a comparison is
/// larger than the differences, so an approach made for wrong labels needs less to be taken than another.
package enum RobustFit {
  package static func run(
    _ problem: Problem, _ options: RobustOptions, catalogue: Catalogue, workers: Workers,
    progress: RobustProgress? = nil
  ) throws(TemperError) -> (model: Model, report: RobustReport) {
    try options.validate()
    let trials = Trials(problem, options, catalogue, workers)
    var report = RobustReport()
    (report.sampleCount, report.featureCount) = (problem.count, problem.width)
    report.classCounts = problem.classCounts
    let present = report.classCounts.filter { $0 > 0 }
    report.isBalanced = options.isBalanced ?? ((present.max() ?? 1) >= 3 * (present.min() ?? 1))
    let judge = Judge(problem, isBalanced: report.isBalanced, target: trials.target)
    let approaches =
      present.isEmpty ? Approach.regression : Approach.classification + (report.isBalanced ? Approach.imbalanced : [])

    var contest = Contest(judge)
    let turns = Double(approaches.count + (present.isEmpty ? 0 : Approach.correctionRounds) + 1)
    func stop(_ turn: Int, _ what: String) -> (Double) throws(TemperError) -> Bool {
      { (done) throws(TemperError) in try progress?((Double(turn) + done) / turns, what) ?? false }
    }
    func compete(_ approach: Approach, _ turn: Int) throws(TemperError) -> Bool {
      let (trial, samples) = try trials.run(
        approach, isHopeless: contest.isHopeless, stop: stop(turn, "trying \(approach.name)"))
      if samples.count < problem.count {
        contest.drop(trial, after: samples)
        return false
      }
      contest.add(trial)
      return true
    }
    // A single sample of each class, or of all, cannot be held back.
    if problem.count >= 2 * max(present.count, 2) {
      for (turn, approach) in approaches.enumerated() { _ = try compete(approach, turn) }
      var source = present.isEmpty ? nil : contest.chosen
      for round in 0..<Approach.correctionRounds {
        guard let outputs = source?.outputs else { break }
        let found = findings(outputs, trials)
        guard found.noiseRate > least, found.concentration > 1.0 / 3,
          try compete(.correction(round + 1, found.transition), approaches.count + round),
          let last = contest.last, round == 0 || last.isBetter
        else { break }
        source = last.entry
      }
    }
    let chosen = contest.chosen
    let found = findings(chosen?.outputs ?? [], trials)
    let approach = chosen?.approach ?? approaches[0]
    let model = try trials.train(
      approach, Array(0..<problem.count), ends: [chosen?.epochs ?? trials.epochs],
      stop: stop(Int(turns) - 1, "training with \(approach.name)"))
    found.write(to: &report)
    report.remoteness = try FeatureOutliers.scores(problem, trials.standard, seed: options.seed, workers)
    if !present.isEmpty { report.lossMixture = mixture(report.losses.filter(\.isFinite)) }
    report.trials = contest.summary
    report.plainScore = contest.plainScore
    if present.isEmpty {
      try trials.rescale(model, by: trials.target.scale, plus: trials.target.mean)
    } else {
      try trials.rescale(model, by: 1 / report.temperature)
    }
    return (model, report)
  }

  /// With fewer wrong labels there is nothing to correct.
  private static let least = 0.02

  /// What outputs of networks that did not see a sample say of the labels.
  private static func findings(_ outputs: [Double], _ trials: Trials) -> Findings {
    switch trials.problem.targets {
    case .classes(let ids, let classes): return Findings(logits: outputs, labels: ids.map(Int.init), classes: classes)
    case .numbers(let values): return Findings(outputs: outputs, values: values, target: trials.target)
    }
  }

  /// Of small and large losses. Right labels pile up at 0: a part is at least a fiftieth of the range wide.
  private static func mixture(_ losses: [Double]) -> [Double] {
    let width = ((losses.max() ?? 0) - (losses.min() ?? 0)) / 50
    guard let mixture = try? GaussianMixture(fitting: losses, floor: max(width * width, 1e-12)) else { return [] }
    return mixture.weights + mixture.means + mixture.variances.map { sqrt($0) }
  }
}
