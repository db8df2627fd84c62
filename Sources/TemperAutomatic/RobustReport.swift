/// What the automatic mode found and did.
package struct RobustReport: Sendable {
  package struct Trial: Sendable {
    package let approach: String
    package let epochs: Int
    /// Accuracy, mean accuracy of the classes, or minus the mean squared error with residuals cut at three deviations, in
    /// units of the numbers' own spread: on samples not learnt from, by their given labels. NaN where none could be left.
    package let score: Double
  }

  package var sampleCount = 0
  package var featureCount = 0
  /// Samples with each given label; empty for numbers.
  package var classCounts: [Int] = []
  /// Whether every class counted alike in the choice.
  package var isBalanced = false
  /// Every approach at its best end, the chosen one first.
  package var trials: [Trial] = []
  /// NaN where plain training was not tried.
  package var plainScore = 0.0
  /// Estimated share of wrong labels, or of numbers far off.
  package var noiseRate = 0.0
  /// P(given label | true class), row by row; empty for numbers.
  package var transition: [Double] = []
  /// For each sample, how probable it is that its label, or its number, is wrong.
  package var suspicion: [Double] = []
  /// For each sample what the model believes: a class, or a number.
  package var believed: [Double] = []
  /// For each sample minus the logarithm of its given label's probability, or its residual; both from networks that did
  /// not see it.
  package var losses: [Double] = []
  /// Two normal distributions fitted to the losses, ascending: weights, means, deviations; empty for numbers.
  package var lossMixture: [Double] = []
  /// For each sample how many robust deviations its distance to its nearest neighbours lies above the median of all.
  package var remoteness: [Double] = []
  /// Of the logits of the trained model, divided out of its last layer.
  package var temperature = 1.0

  /// Samples whose label is more probably wrong than right.
  package var suspected: [Int] { suspicion.indices.filter { suspicion[$0] > 0.5 } }
  /// Samples that lie far from all others.
  package var outliers: [Int] { remoteness.indices.filter { remoteness[$0] > 6 } }
  package var chosen: Trial { trials.first ?? Trial(approach: "", epochs: 0, score: 0) }

  /// In plain words.
  package var text: String {
    var lines = ["\(sampleCount) samples with \(featureCount) features."]
    let present = classCounts.filter { $0 > 0 }
    let isClassification = !classCounts.isEmpty
    if let fewest = present.min(), let most = present.max() {
      lines.append("\(present.count) classes; the rarest has \(fewest) samples, the most common \(most).")
      if isBalanced { lines.append("Every class counts alike, however rare, in what follows.") }
    }
    let share = percent(noiseRate)
    let what = isClassification ? "labels look wrong" : "numbers are far from what the features say"
    lines.append(
      noiseRate < 0.005
        ? "Almost none of the \(what)."
        : "About \(share) of the \(what); \(suspected.count) samples are suspected one by one.")
    if let farthest = outliers.max(by: { remoteness[$0] < remoteness[$1] }) {
      lines.append("\(outliers.count) samples lie far from all others; the farthest is sample \(farthest).")
    }
    let best = chosen
    let measure = isClassification ? (isBalanced ? "mean accuracy of the classes" : "accuracy") : "error"
    func shown(_ score: Double) -> String { isClassification ? percent(score) : rounded(-score) }
    var trained = "Trained with \(best.approach) for \(best.epochs) epochs"
    if !best.score.isNaN {
      trained +=
        ": \(shown(best.score)) \(measure) by the given \(isClassification ? "labels" : "numbers"), on samples not learnt from"
    }
    if !plainScore.isNaN { trained += "; plain training has \(shown(plainScore))" }
    lines.append(trained + ".")
    if plainScore.isNaN { lines.append("There are too few samples to compare ways of training by them.") }
    if isClassification {
      lines.append("Logits are divided by \(rounded(temperature)), so that probabilities mean what they say.")
    }
    return lines.joined(separator: "\n")
  }

  private func percent(_ share: Double) -> String { rounded(100 * share) + "%" }
  private func rounded(_ value: Double) -> String { String((value * 100).rounded() / 100) }
}
