import Glibc
import TemperCatalogue
import TemperCore

/// Two measures of each sample within its given class, of which each class takes the one that separates better: how far
/// the prediction is from the label, and how near the features are to those of an anchor.
enum Tabasco {
  static let method = Method(
    "tabasco", kind: .detector, area: "noisy-labels",
    summary: "Wrong labels of long-tailed classes by two measures, the better one for each class.",
    reference: Reference(
      "Lu et al.", 2023, "Label-Noise Learning with Intrinsically Long-Tailed Data", arXiv: "2208.09833"),
    parameters: [
      .real("gmm_threshold", 0.5, in: .unit, "Samples whose P(right) is above this are said to be right."),
      .real("std_ratio", 0.65, in: .nonNegative, "With a smaller ratio of deviations a class goes by its predictions."),
      .real("anchor_tol", 0.1, in: .unit, "How near another class's anchor must be for its samples to be looked for."),
    ],
    calls: [
      ArrayCall(
        "score",
        [
          LabelErrors.targets, LabelErrors.probabilities,
          Input("features", [.init(["N", "D"])], "Of the network, after a warm-up."),
        ],
        gives: [
          .init("scores", "The probability that the label is wrong."),
          .init("is_right", "Which labels are kept."),
          .init("divergence", "Weighted Jensen-Shannon divergence of prediction and label."),
          .init("similarity", "Cosine of the features to the class's anchor."),
          .init("by_features", "For each class whether the similarity decided."),
        ]
      ) { (work) throws(TemperError) in
        let (y, p) = (try work.ids("targets"), try work.probabilities())
        _ = try work.reals("features")
        let features = try Matrix(try work.tensor("features")).centredUnitRows
        let labels = Labels(y)
        let means = labels.members.map { p.rows($0).means }
        let divergence = y.indices.map { weightedDivergence(p[$0], y[$0], means[labels.places[$0]]) }
        let anchors = labels.classes.indices.map { anchor(labels.members[$0], p, means[$0], features) }
        let similarity = y.indices.map { sample in
          zip(features[sample], anchors[labels.places[sample]]).reduce(0) { $0 + $1.0 * $1.1 }
        }
        var wrong = [Double](repeating: 0, count: y.count)
        var byFeatures = [Bool](repeating: false, count: p.columns)
        for at in labels.classes.indices {
          let members = labels.members[at]
          guard members.count >= 2 else { continue }
          let near = Split(members.map { similarity[$0] })
          let far = Split(members.map { divergence[$0] })
          let isHigh = near.isHigh
          let ends = [false, true].map { high -> [Double] in
            members.indices.filter { isHigh[$0] == high }.map { far.values[$0] }
          }
          // Do the clusters by features agree with those by predictions, and are they cut well?
          let onFar = ends.map { values in
            values.isEmpty ? true : far.isHigh(values.reduce(0, +) / Double(values.count))
          }
          let deviations = ends.map(deviation)
          let ratio = deviations[0] > 0 ? deviations[1] / deviations[0] : 1
          if onFar[0] && onFar[1] || ratio < work.real("std_ratio") || ends.contains(where: \.isEmpty) {
            for (place, sample) in members.enumerated() { wrong[sample] = far.high[place] }
            continue
          }
          byFeatures[labels.classes[at]] = true
          let takesLow =
            isHigh.count { !$0 } > isHigh.count { $0 } && othersAreNear(at, anchors, work.real("anchor_tol"))
          for (place, sample) in members.enumerated() {
            wrong[sample] = takesLow ? near.high[place] : 1 - near.high[place]
          }
        }
        try work.give("scores", wrong)
        try work.give("is_right", wrong.map { 1 - $0 > work.real("gmm_threshold") })
        try work.give("divergence", divergence)
        try work.give("similarity", similarity)
        try work.give("by_features", byFeatures)
      }
    ])

  /// w JS(p, onehot y), w = max_c p_c / p_y inside [1, max_c m_c / m_y], m the class's mean prediction.
  private static func weightedDivergence(_ p: ArraySlice<Double>, _ y: Int, _ mean: [Double]) -> Double {
    let own = p[p.startIndex + y]
    let most = max((mean.max() ?? 1) / max(mean[y], 1e-12), 1)
    let weight = min(max((p.max() ?? 1) / max(own, 1e-12), 1), most)
    // KL of each to their mean; of the one-hot only its own class is left.
    let other = p.reduce(0.0) { $0 + $1 } - own
    let first = other * log(2) + (own > 0 ? own * log(2 * own / (own + 1)) : 0)
    return weight * 0.5 * (first + log(2 / (own + 1)))
  }

  /// The mean of the features predicted as the class that the members' mean prediction, weighed against how much it says
  /// of the class at all, names; of those more confident than the mean.
  private static func anchor(
    _ members: [Int], _ p: Matrix, _ mean: [Double], _ features: Matrix
  ) -> [Double] {
    let all = p.means
    let chosen = mean.indices.reduce(0) { mean[$1] / max(all[$1], 1e-12) > mean[$0] / max(all[$0], 1e-12) ? $1 : $0 }
    var core = members.filter { sample in
      (0..<p.columns).reduce(0) { p[sample, $1] > p[sample, $0] ? $1 : $0 } == chosen
        && p[sample, chosen] >= mean[chosen]
    }
    if core.isEmpty { core = members }
    let centre = features.rows(core).means
    let length = centre.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return length > 0 ? centre.map { $0 / length } : centre
  }

  /// Whether another anchor is as like this one, by the softmax of cosines, as it is itself, up to the tolerance.
  private static func othersAreNear(_ at: Int, _ anchors: [[Double]], _ tolerance: Double) -> Bool {
    let likeness = anchors.map { other in exp(zip(other, anchors[at]).reduce(0) { $0 + $1.0 * $1.1 }) }
    let whole = likeness.reduce(0, +)
    return likeness.indices.contains { $0 != at && (likeness[at] - likeness[$0]) / whole <= tolerance }
  }

  private static func deviation(_ values: [Double]) -> Double {
    guard !values.isEmpty else { return 0 }
    let mean = values.reduce(0, +) / Double(values.count)
    return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)).squareRoot()
  }
}

/// Values moved into [0, 1] and cut in two by a mixture of two normal distributions.
private struct Split {
  let values: [Double]
  /// P(the component of the larger mean).
  let high: [Double]
  private let mixture: GaussianMixture

  init(_ given: [Double]) {
    let (low, top) = (given.min() ?? 0, given.max() ?? 0)
    let values = given.map { top > low ? ($0 - low) / (top - low) : 0 }
    self.values = values
    let plain = GaussianMixture(weights: [0.5, 0.5], means: [0, 1], variances: [0.05, 0.05])
    let mixture = (try? GaussianMixture(fitting: values, iterations: 10, tolerance: 1e-2, floor: 5e-4)) ?? plain
    self.mixture = mixture
    let shares = mixture.posteriors(values)
    high = values.indices.map { shares[2 * $0 + 1] }
  }

  var isHigh: [Bool] { high.map { $0 > 0.5 } }

  func isHigh(_ value: Double) -> Bool { mixture.posteriors([value])[1] > 0.5 }
}

extension Matrix {
  /// Rows about their mean, of length 1.
  fileprivate var centredUnitRows: Matrix {
    let means = means
    var result = self
    for row in 0..<rows {
      let centred = zip(self[row], means).map { $0 - $1 }
      let length = centred.reduce(0) { $0 + $1 * $1 }.squareRoot()
      for column in 0..<columns { result[row, column] = length > 0 ? centred[column] / length : 0 }
    }
    return result
  }
}
