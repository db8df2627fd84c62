import Glibc
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
    // Half-way between the last number in and the first one out, the ones that miss 1 and those that pass 0 are nearly as
    // many, so that a bracket of a few numbers holds the root however far the two lie apart.
    let order = z.sorted(descending: true), axis = z.shape.rank - 1
    let (inside, outside) = (order.slice(k - 1..<k, axis: axis), order.slice(k..<k + 1, axis: axis))
    let centre = -(0.5 * inside + 0.5 * outside)
    // Entries of -inf (masks) are not there; where no more than k are, the others come near 1.
    let isFew = outside .== -.infinity
    let all = Glibc.log(1e6 * Double(k)) - Expression.select(z .== -.infinity, .constant(0), z).minimum()
    var low = Expression.select(isFew, all, centre - Glibc.log(2 * Double(length - k)))
    var high = Expression.select(isFew, all, centre + Glibc.log(2 * Double(k)))
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
