/// Given against true labels by counts of confident predictions (Northcutt, Jiang and Chuang, 2021, arXiv 1911.00068).
package struct ConfidentJoint: Sendable {
  /// t_j, the mean of p_j over samples labelled j.
  package let thresholds: [Double]
  /// Samples labelled i that are confidently j.
  package let counts: Matrix
  /// P(given i, true j): the counts, rows scaled to the shares of the labels; a label that is never seen with confidence
  /// counts as right.
  package let joint: Matrix
  /// The share of wrong labels, 1 - trace of the joint.
  package let noiseRate: Double

  /// p (N, C): probabilities of a model that did not see the samples.
  package init(_ p: Matrix, labels: [Int]) {
    let classes = p.columns
    var (sums, sizes) = ([Double](repeating: 0, count: classes), [Double](repeating: 0, count: classes))
    for (sample, label) in labels.enumerated() {
      sums[label] += p[sample, label]
      sizes[label] += 1
    }
    // No sample is confidently of a class that nobody was given.
    thresholds = (0..<classes).map { sizes[$0] > 0 ? sums[$0] / sizes[$0] : 1 + ConfidentJoint.tolerance * 2 }
    var counts = Matrix(zeros: classes, classes)
    for (sample, seen) in ConfidentJoint.classes(p, thresholds).enumerated() where seen >= 0 {
      counts[labels[sample], seen] += 1
    }
    var joint = counts.shares
    for i in 0..<classes { for j in 0..<classes { joint[i, j] *= sizes[i] / Double(labels.count) } }
    (self.counts, self.joint) = (counts, joint)
    noiseRate = 1 - (0..<classes).reduce(0) { $0 + joint[$1, $1] }
  }

  /// The likeliest of the classes whose probability reaches their threshold; -1 where none does.
  package static func classes(_ p: Matrix, _ thresholds: [Double]) -> [Int] {
    (0..<p.rows).map { row in
      var best = -1
      for c in 0..<p.columns where p[row, c] >= thresholds[c] - tolerance {
        if best < 0 || p[row, c] > p[row, best] { best = c }
      }
      return best
    }
  }

  /// Rounding of means must not hide a class whose probabilities are all alike.
  private static let tolerance = 1e-6
}
