import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  /// y_j = sigmoid(alpha (x_j + t)) with t such that the row sums to k.
  static let softTopk = rowOperator(
    "soft_topk", area: "loss", "Numbers between 0 and 1 that sum to k, near 1 for the k largest.",
    Reference("Gupta et al.", 2024, "Dual-Encoders for Extreme Multi-Label Classification", arXiv: "2310.10636"),
    [
      .integer("k", 2, in: 1 ... .max, "The sum; below the length of the row."),
      .real("alpha", 1, in: .positive, "The sharpness."),
    ], properties: ["shift_invariant"]
  ) { x, z in sigmoid(z.softTopkScores(x.integer("k"), x.real("alpha"))) }
}

extension Expression {
  /// alpha (x + t): the logits of the soft top-k.
  func softTopkScores(_ k: Int, _ alpha: Double) -> Expression {
    let length = shape.last
    guard k < length else {
      return .invalid(.outOfRange, "The soft top-k of \(length) numbers needs k from 1 to \(length - 1); \(k) came.")
    }
    let z = alpha * shifted
    // With all numbers equal to the largest, or the smallest, the root is known: the bracket.
    // Entries of -inf (masks) are not there; where no more than k are, the others come near 1.
    let isOut = z .== -.infinity
    let others = TemperGraph.maximum(Double(length - k) - isOut.sum(), 1e-6)
    let even = TemperGraph.log(Double(k) / others)
    var low = even - z.maximum()
    var high = even - Expression.select(isOut, .constant(0), z).minimum()
    for _ in 0..<40 {
      let middle = 0.5 * (low + high)
      let isHigh = TemperGraph.sigmoid(z + middle).sum() .> Double(k)
      (low, high) = (.select(isHigh, low, middle), .select(isHigh, middle, high))
    }
    var t = (0.5 * (low + high)).stopGradient
    // Newton's steps from the root carry its derivatives: one the first, two the second and third.
    for _ in 0..<2 {
      let y = TemperGraph.sigmoid(z + t)
      t = t - (y.sum() - Double(k)) / TemperGraph.maximum((y * (1 - y)).sum(), 1e-30)
    }
    return z + t
  }
}
