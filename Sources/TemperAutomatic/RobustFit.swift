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
/// larger than the differences, so an approach made for wrong labels needs less to be taken than another; and where a
/// class has hardly any samples, nothing is compared.
package enum RobustFit {
  package static func run(
    _ problem: Problem, _ options: RobustOptions, catalogue: Catalogue, workers: Workers,
    progress: RobustProgress? = nil
  ) throws(TemperError) -> (model: Model, report: RobustReport) {
    try options.validate()
    var report = RobustReport()
    (report.sampleCount, report.featureCount) = (problem.count, problem.width)
    report.classCounts = problem.classCounts
    let present = report.classCounts.filter { $0 > 0 }
    let isBalanced = options.isBalanced ?? ((present.max() ?? 1) >= 3 * (present.min() ?? 1))
    report.isBalanced = isBalanced
    let trials = Trials(problem, isBalanced: isBalanced && !present.isEmpty, options, catalogue, workers)
    var contest = Contest(Judge(problem, isBalanced: isBalanced, target: trials.target))
    // At most so many approaches, and the training of the chosen one.
    let turns = Double((present.isEmpty ? Approach.regression.count : 3 + Approach.correctionRounds) + 1)
    var turn = 0
    func stop(_ what: String) -> (Double) throws(TemperError) -> Bool {
      let begun = Double(turn)
      return { (done) throws(TemperError) in try progress?((begun + done) / turns, what) ?? false }
    }
    func compete(_ approach: Approach) throws(TemperError) -> Bool {
      let (trial, samples) = try trials.run(
        approach, isHopeless: contest.isHopeless, stop: stop("trying \(approach.name)"))
      turn += 1
      if samples.count < problem.count {
        contest.drop(trial, after: samples)
        return false
      }
      contest.add(trial)
      return true
    }
    func noiseRate(_ entry: Contest.Entry?) -> Double { findings(entry?.outputs ?? [], trials).noiseRate }

    func classify() throws(TemperError) {
      let isRare = isBalanced && (present.min() ?? 0) < Approach.enough
      if isRare {
        _ = try compete(.rare)
        if noiseRate(contest.chosen) <= Approach.many { return }
      }
      _ = try compete(.plain)
      if isBalanced && !isRare { _ = try compete(.imbalanced) }
      guard noiseRate(contest.chosen) > Approach.few else { return }
      if try compete(.robust) { contest.doubtsPlain = noiseRate(contest.trusted) > Approach.many }
      var source = contest.chosen
      for round in 1...Approach.correctionRounds {
        let found = findings(source?.outputs ?? [], trials)
        guard found.noiseRate > Approach.few, found.concentration > Approach.leastConcentration,
          try compete(.correction(round, found.transition)), let last = contest.last, round == 1 || last.isBetter
        else { return }
        source = last.entry
      }
    }

    // A single sample of each class, or of all, cannot be held back.
    if problem.count >= 2 * max(present.count, 2) {
      if present.isEmpty {
        for approach in Approach.regression { _ = try compete(approach) }
      } else {
        try classify()
      }
    }
    let chosen = contest.chosen
    let found = findings(chosen?.outputs ?? [], trials)
    let approach = chosen?.approach ?? (present.isEmpty ? Approach.regression[0] : isBalanced ? .rare : .plain)
    turn = Int(turns) - 1
    let epochs = chosen?.epochs ?? trials.ends(approach).last ?? trials.epochs
    let model = try trials.train(
      approach, Array(0..<problem.count), ends: [epochs],
      stop: stop("training with \(approach.name)"))
    found.write(to: &report)
    report.remoteness = try FeatureOutliers.scores(problem, trials.standard, seed: options.seed, workers)
    if !present.isEmpty { report.lossMixture = mixture(report.losses.filter(\.isFinite)) }
    let summary = contest.summary
    report.trials =
      summary.isEmpty ? [RobustReport.Trial(approach: approach.name, epochs: epochs, score: .nan)] : summary
    report.plainScore = contest.plainScore
    if present.isEmpty {
      try trials.rescale(model, by: trials.target.scale, plus: trials.target.mean)
    } else {
      try trials.rescale(model, by: 1 / report.temperature)
    }
    return (model, report)
  }

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
