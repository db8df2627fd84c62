import Glibc
import TemperData

/// What outputs of networks that did not see a sample say of its label.
struct Findings {
  private(set) var noiseRate = 0.0
  private(set) var transition: [Double] = []
  private var suspicion: [Double] = []
  private var believed: [Double] = []
  private var losses: [Double] = []
  private var temperature = 1.0

  /// logits: (N, C), or nothing where no sample could be held back.
  init(logits values: [Double], labels: [Int], classes: Int) {
    guard !values.isEmpty else {
      (suspicion, losses) = (
        [Double](repeating: 0, count: labels.count), [Double](repeating: .nan, count: labels.count)
      )
      believed = labels.map(Double.init)
      transition = (0..<classes * classes).map { $0 % (classes + 1) == 0 ? 1 : 0 }
      return
    }
    // The temperature needs the transition, and the transition probabilities at the right temperature.
    let logits = Matrix(values, rows: labels.count, columns: classes)
    temperature = LabelNoise(logits.softmax(), labels: labels).temperature(logits, labels: labels)
    let probabilities = logits.softmax(temperature: temperature)
    let noise = LabelNoise(probabilities, labels: labels)
    (noiseRate, transition) = (noise.rate, noise.transition.values)
    for (sample, label) in labels.enumerated() {
      let row = probabilities[sample]
      let posterior = noise.posterior(row, given: label)
      suspicion.append(1 - posterior[label])
      believed.append(Double(posterior.indices.max { posterior[$0] < posterior[$1] } ?? label))
      losses.append(-log(max(row[row.startIndex + label], 1e-12)))
    }
  }

  /// outputs: standardized numbers (N,), or nothing where no sample could be held back.
  init(outputs: [Double], values: [Double], target: (mean: Double, scale: Double)) {
    guard !outputs.isEmpty else {
      (suspicion, losses) = (
        [Double](repeating: 0, count: values.count), [Double](repeating: .nan, count: values.count)
      )
      believed = values
      return
    }
    believed = outputs.map { $0 * target.scale + target.mean }
    losses = zip(values, believed).map { $0 - $1 }
    let outliers = TargetOutliers(residuals: losses)
    (noiseRate, suspicion) = (outliers.rate, outliers.posteriors)
  }

  /// How far the wrong labels of each class are of one other class: 0 where all others are alike, 1 where there is one; the
  /// mean over the classes. 0 for two classes, of which each has but one other.
  var concentration: Double {
    let classes = Int(Double(transition.count).squareRoot())
    guard classes > 2 else { return 0 }
    let even = 1 / Double(classes - 1)
    let shares = (0..<classes).map { k in
      let wrong = (0..<classes).filter { $0 != k }.map { transition[k * classes + $0] }
      let sum = wrong.reduce(0, +)
      return sum > 0 ? ((wrong.max() ?? 0) / sum - even) / (1 - even) : 0
    }
    return shares.reduce(0, +) / Double(classes)
  }

  func write(to report: inout RobustReport) {
    (report.noiseRate, report.transition, report.suspicion) = (noiseRate, transition, suspicion)
    (report.believed, report.losses, report.temperature) = (believed, losses, temperature)
  }
}
