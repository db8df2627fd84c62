import Glibc
import TemperData

/// Which labels are wrong, from probabilities of a model that did not see them: confident learning for the rates, Bayes'
/// rule for the single label.
struct LabelNoise {
  /// P(given label | true class): a row for each true class.
  let transition: Matrix
  /// Share of labels that are not the true class.
  let rate: Double

  init(_ probabilities: Matrix, labels: [Int]) {
    let found = ConfidentJoint(probabilities, labels: labels)
    var columns = found.joint
    for i in 0..<columns.rows { for j in 0..<columns.columns { columns[i, j] = found.joint[j, i] } }
    (transition, rate) = (columns.shares, found.noiseRate)
  }

  /// P(true class | sample, given label) for each class.
  func posterior(_ probabilities: ArraySlice<Double>, given: Int) -> [Double] {
    let values = probabilities.enumerated().map { $1 * transition[$0, given] }
    let sum = values.reduce(0, +)
    return sum > 0 ? values.map { $0 / sum } : Array(probabilities)
  }

  /// The temperature under which softmax(logits / t), passed through the transition, explains the given labels best.
  func temperature(_ logits: Matrix, labels: [Int]) -> Double {
    exp(
      goldenSection(log(0.2), log(20)) { exponent in
        let p = logits.softmax(temperature: exp(exponent))
        return labels.enumerated().reduce(0) { sum, entry in
          sum
            - log(p[entry.offset].enumerated().reduce(1e-12) { $0 + $1.element * transition[$1.offset, entry.element] })
        }
      })
  }
}
