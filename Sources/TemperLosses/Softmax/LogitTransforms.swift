import TemperCatalogue
import TemperGraph

extension Losses {
  static let logitTransforms = [logitClip]

  /// x if |x|_p <= tau, else tau x / |x|_p. Wei et al., 2023, arXiv 2212.04055.
  static let logitClip = rowOperator(
    "logit_clip", area: "loss", "Rows longer than tau are shortened to tau, before any loss.",
    Reference(
      "Wei, Zhuang, Xie, Feng, Niu, An and Li", 2023,
      "Mitigating Memorization of Noisy Labels by Clipping the Model Prediction", arXiv: "2212.04055"),
    [
      .real("tau", 1, in: .positive, "The longest norm."),
      .real("p", 2, in: Interval(1, .infinity), "The norm: 2 is Euclid's, infinity the largest entry."),
    ], properties: []
  ) { x, all in
    let tau = x.real("tau")
    if tau == .infinity { return all }
    // Entries of -inf (masks) are not there, and stay what they are.
    let isOut = all .== -.infinity
    let z = Expression.select(isOut, .constant(0), all)
    // Rows are scaled by their largest entry, so that no power overflows; a row of zeros is inside.
    let largest = abs(z).maximum().stopGradient
    let isZero = largest .== 0
    let scaled = z / .select(isZero, .constant(1), largest)
    let norm: Expression =
      switch x.real("p") {
      case .infinity: abs(scaled).maximum()
      case 1: abs(scaled).sum()
      case let p: pow(.select(isZero, .constant(1), pow(abs(scaled), p).sum()), 1 / p)
      }
    let clipped = Expression.select(largest * norm .<= tau, z, tau * scaled / .select(isZero, .constant(1), norm))
    return .select(isOut, .constant(-.infinity), clipped)
  }
}
