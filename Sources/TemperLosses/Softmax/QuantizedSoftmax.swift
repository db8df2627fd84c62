import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  /// Q(p) + beta, p = softmax(x), Q(p) = s min(round(p / s), 2^b - 1), s = range / (2^b - 1); rounding passes gradients
  /// straight through. beta is what rounding takes from a weight on average, which the calibrator softmax_bias_correction
  /// measures, or for each row what it lacks to 1 over the entries seen. Entries of -inf stay 0.
  static let quantizedSoftmax = rowOperator(
    "quantized_softmax", "A softmax in few bits, with what rounding takes from the weights given back.",
    Reference(
      "Pandey et al.", 2023, "Softmax Bias Correction for Quantized Generative Models", arXiv: "2309.01729"),
    [
      .integer("bits", 8, in: 1...16, "Bits of a weight."),
      .real("range", 1, in: Interval(0, 1, includesLower: false), "The largest weight that the levels reach."),
      .real("correction", or: ["off", "row"], in: .unit, "Added to each weight: a number, or what its row lacks."),
    ], properties: ["shift_invariant", "straight_through"]
  ) { x, z in
    let p = z.softmax()
    let step = x.real("range") / Double((1 << x.integer("bits")) - 1)
    let levels = minimum(round(p / step), Double((1 << x.integer("bits")) - 1)) * step
    let rounded = p + (levels - p).stopGradient
    let isSeen = Expression.select(z .== -.infinity, .constant(0), .constant(1))
    if let correction = x.optionalReal("correction") { return rounded + correction * isSeen }
    guard x.text("correction") == "row" else { return rounded }
    return rounded + isSeen * ((1 - levels.sum()) / maximum(isSeen.sum(), 1)).stopGradient
  }
}
