import Glibc

/// How good outputs are, sample by sample, by the given labels.
struct Judge {
  let problem: Problem
  /// Of each sample; their mean is 1.
  private let weights: [Double]
  private let target: (mean: Double, scale: Double)

  init(_ problem: Problem, isBalanced: Bool, target: (mean: Double, scale: Double)) {
    (self.problem, self.target) = (problem, target)
    if isBalanced, case .classes(let ids, _) = problem.targets {
      let counts = problem.classCounts
      let present = Double(counts.filter { $0 > 0 }.count)
      weights = ids.map { Double(problem.count) / (present * Double(counts[Int($0)])) }
    } else {
      weights = [Double](repeating: 1, count: problem.count)
    }
  }

  /// Of numbers: the residuals, in standard units.
  func residuals(_ outputs: [Double]) -> [Double] {
    guard case .numbers(let values) = problem.targets else { return [] }
    return zip(values, outputs).map { ($0 - target.mean) / target.scale - $1 }
  }

  /// 1 for a right class, weighted; or minus the squared residual, cut at three of `deviation`.
  func scores(_ outputs: [Double], deviation: Double) -> [Double] {
    switch problem.targets {
    case .numbers: return residuals(outputs).map { -min($0 * $0, 9 * deviation * deviation) }
    case .classes(let ids, let classes):
      return ids.indices.map { sample in
        let row = outputs[sample * classes..<(sample + 1) * classes]
        let best = row.indices.max { row[$0] < row[$1] } ?? row.startIndex
        return best - row.startIndex == Int(ids[sample]) ? weights[sample] : 0
      }
    }
  }
}

/// Approaches and their early ends, compared.
struct Contest {
  struct Entry {
    let approach: Approach
    let epochs: Int
    let outputs: [Double]
  }

  private let judge: Judge
  private var entries: [[Entry]] = []
  private var dropped: [RobustReport.Trial] = []
  /// Whether so many labels look wrong that plain training is taken only if it is clearly better.
  var doubtsPlain = false

  init(_ judge: Judge) { self.judge = judge }

  /// Residuals are cut at three times this: the smallest robust spread that anyone reached.
  private var deviation = Double.infinity

  mutating func add(_ trial: Trial) {
    let added = trial.entries
    entries.append(added)
    for entry in added { deviation = min(deviation, Robust.deviation(judge.residuals(entry.outputs), around: 0)) }
  }

  /// An approach that was given up after these samples.
  mutating func drop(_ trial: Trial, after samples: [Int]) {
    let ends = trial.entries.map { entry in
      let scores = scores(entry)
      return RobustReport.Trial(
        approach: entry.approach.name, epochs: entry.epochs, score: mean(samples.map { scores[$0] }))
    }
    if let best = ends.max(by: { $0.score < $1.score }) { dropped.append(best) }
  }

  /// Whether each end of an approach is behind the choice so far by more than twice the error of the comparison, on the
  /// samples that it has outputs for.
  func isHopeless(_ trial: Trial, on samples: [Int]) -> Bool {
    guard let chosen else { return false }
    let base = scores(chosen)
    return trial.entries.allSatisfy { entry in
      let scores = scores(entry)
      let (gain, error) = compare(samples.map { scores[$0] }, samples.map { base[$0] })
      return gain < -2 * error
    }
  }

  private func scores(_ entry: Entry) -> [Double] { judge.scores(entry.outputs, deviation: deviation) }

  private func score(_ entry: Entry) -> Double { mean(scores(entry)) }

  private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(values.count, 1)) }

  /// How much better `a` is than `b`, sample by sample, and the standard error of that.
  private func compare(_ a: [Double], _ b: [Double]) -> (gain: Double, error: Double) {
    let gains = zip(a, b).map { $0 - $1 }
    let gain = mean(gains)
    return (gain, sqrt(mean(gains.map { ($0 - gain) * ($0 - gain) }) / Double(max(gains.count, 1))))
  }

  /// Plain training to its end: of regression the first approach.
  private var plain: Entry? {
    entries.first { $0.first?.approach.isTrusted == false }?.last
  }

  /// Plain training to its end, or the best of the trusted approaches if it is better or plain training is in doubt; or
  /// the best of all entries, if it is better than that by more than the error of the comparison: once the error above
  /// plain training, twice above a trusted approach. The best of many looks better than it is.
  var chosen: Entry? {
    guard let best = entries.flatMap({ $0 }).max(by: { score($0) < score($1) }) else { return nil }
    let trusted = trusted
    let candidates = [doubtsPlain && trusted != nil ? nil : plain, trusted].compactMap { $0 }
    guard let base = candidates.max(by: { score($0) < score($1) }) else { return nil }
    let (gain, error) = compare(scores(best), scores(base))
    return gain > (base.approach.isTrusted ? 2 : 1) * error ? best : base
  }

  /// The best of the trusted approaches, as it is trusted.
  var trusted: Entry? { entries.compactMap(trustedEnd).max { score($0) < score($1) } }

  private func trustedEnd(_ ends: [Entry]) -> Entry? {
    guard let last = ends.last, last.approach.isTrusted else { return nil }
    return last.approach.transition == nil ? last : ends.max { score($0) < score($1) }
  }

  /// The best end of the approach that was added last, and whether it is better than the best of the one before.
  var last: (entry: Entry, isBetter: Bool)? {
    let best = entries.suffix(2).compactMap { $0.max { score($0) < score($1) } }
    guard let last = best.last else { return nil }
    return (last, best.count < 2 || score(last) > score(best[0]))
  }

  /// NaN where plain training was not tried.
  var plainScore: Double { plain.map(score) ?? .nan }

  /// Every approach at its best end; the chosen one first, as it was chosen, and those that were given up last.
  var summary: [RobustReport.Trial] {
    guard let chosen else { return [] }
    func trial(_ entry: Entry) -> RobustReport.Trial {
      RobustReport.Trial(approach: entry.approach.name, epochs: entry.epochs, score: score(entry))
    }
    let others = entries.filter { $0.first?.approach.name != chosen.approach.name }
      .compactMap { $0.map(trial).max { $0.score < $1.score } }
    return [trial(chosen)] + others.sorted { $0.score > $1.score } + dropped
  }
}
