import Glibc

/// Which labels are wrong, from probabilities of a model that did not see them: confident learning (Northcutt, Jiang and
/// Chuang, 2021, arXiv 1911.00068) for the rates, Bayes' rule for the single label.
struct LabelNoise {
  /// P(given label | true class): a row for each true class.
  let transition: [[Double]]
  /// Share of labels that are not the true class.
  let rate: Double

  /// probabilities: (N, C), row by row.
  init(probabilities: [Double], labels: [Int32], classes: Int) {
    let counts = labels.reduce(into: [Double](repeating: 0, count: classes)) { $0[Int($1)] += 1 }
    // A class is seen with confidence where its probability is above the mean over the samples labelled so.
    var thresholds = [Double](repeating: 0, count: classes)
    for (sample, label) in labels.enumerated() {
      thresholds[Int(label)] += probabilities[sample * classes + Int(label)]
    }
    for label in 0..<classes where counts[label] > 0 { thresholds[label] /= counts[label] }
    var joint = [[Double]](repeating: [Double](repeating: 0, count: classes), count: classes)
    for (sample, label) in labels.enumerated() {
      let row = probabilities[sample * classes..<(sample + 1) * classes]
      let seen = (0..<classes).filter { counts[$0] > 0 && row[row.startIndex + $0] >= thresholds[$0] }
      if let best = seen.max(by: { row[row.startIndex + $0] < row[row.startIndex + $1] }) {
        joint[Int(label)][best] += 1
      }
    }
    // Rows come to the shares of the given labels; a label never seen with confidence is taken as right.
    let total = Double(max(labels.count, 1))
    for given in 0..<classes {
      let sum = joint[given].reduce(0, +)
      if sum == 0 { joint[given][given] = 1 }
      let factor = counts[given] / total / max(sum, 1)
      for j in 0..<classes { joint[given][j] *= factor }
    }
    rate = (0..<classes).reduce(0) { sum, given in
      sum + (0..<classes).reduce(0) { $1 == given ? $0 : $0 + joint[given][$1] }
    }
    transition = (0..<classes).map { truth in
      let column = (0..<classes).map { joint[$0][truth] }
      let sum = column.reduce(0, +)
      return sum > 0 ? column.map { $0 / sum } : (0..<classes).map { $0 == truth ? 1 : 0 }
    }
  }

  /// P(true class | sample, given label) for each class.
  func posterior(_ probabilities: some Collection<Double>, given: Int) -> [Double] {
    var values = zip(probabilities, transition).map { $0 * $1[given] }
    let sum = values.reduce(0, +)
    guard sum > 0 else { return Array(probabilities) }
    for index in values.indices { values[index] /= sum }
    return values
  }

  /// The temperature under which softmax(logits / t), passed through the transition, explains the given labels best.
  func temperature(logits: [Double], labels: [Int32]) -> Double {
    let classes = transition.count
    return exp(
      goldenSection(log(0.2), log(20)) { exponent in
        let probabilities = softmax(logits, classes, temperature: exp(exponent))
        var sum = 0.0
        for (sample, label) in labels.enumerated() {
          var likelihood = 1e-12
          for truth in 0..<classes {
            likelihood += probabilities[sample * classes + truth] * transition[truth][Int(label)]
          }
          sum -= log(likelihood)
        }
        return sum
      })
  }
}

/// Row by row.
func softmax(_ logits: [Double], _ classes: Int, temperature: Double = 1) -> [Double] {
  var result = logits
  for start in stride(from: 0, to: logits.count, by: classes) {
    let row = start..<start + classes
    let highest = logits[row].max() ?? 0
    var sum = 0.0
    for index in row {
      result[index] = exp((logits[index] - highest) / temperature)
      sum += result[index]
    }
    for index in row { result[index] /= sum }
  }
  return result
}
