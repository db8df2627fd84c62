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

  init(_ judge: Judge) { self.judge = judge }

  /// Residuals are cut at three times this: the smallest robust spread that anyone reached.
  private var deviation = Double.infinity

  mutating func add(_ trial: Trial) {
    let added = zip(trial.epochs, trial.outputs).map {
      Entry(approach: trial.approach, epochs: $0, outputs: $1)
    }
    entries.append(added)
    for entry in added { deviation = min(deviation, Robust.deviation(judge.residuals(entry.outputs), around: 0)) }
  }

  private func scores(_ entry: Entry) -> [Double] { judge.scores(entry.outputs, deviation: deviation) }

  private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(values.count, 1)) }

  /// Plain training to its end.
  private var plain: Entry? { entries.first?.last }

  /// The best entry, if it is better than plain training by more than the error of the comparison; else plain training.
  var chosen: Entry? {
    guard let plain else { return nil }
    let base = scores(plain)
    let ranked = entries.flatMap { $0 }.map { (entry: $0, scores: scores($0)) }
    guard let best = ranked.max(by: { mean($0.scores) < mean($1.scores) }) else { return plain }
    let gains = zip(best.scores, base).map { $0 - $1 }
    let gain = mean(gains)
    let variance = mean(gains.map { ($0 - gain) * ($0 - gain) })
    return gain > sqrt(variance / Double(max(gains.count, 1))) ? best.entry : plain
  }

  var plainScore: Double { plain.map { mean(scores($0)) } ?? .nan }

  /// Every approach at its best end; the chosen one first, as it was chosen.
  var summary: [RobustReport.Trial] {
    guard let chosen else { return [] }
    func trial(_ entry: Entry) -> RobustReport.Trial {
      RobustReport.Trial(approach: entry.approach.name, epochs: entry.epochs, score: mean(scores(entry)))
    }
    let others = entries.filter { $0.first?.approach.name != chosen.approach.name }
      .compactMap { $0.map(trial).max { $0.score < $1.score } }
    return [trial(chosen)] + others.sorted { $0.score > $1.score }
  }
}
