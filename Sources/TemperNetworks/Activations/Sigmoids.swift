import TemperCatalogue
import TemperGraph

extension Activations {
  static let sigmoids = [hyperbolicTangent, logistic, hardSigmoid, softsign]

  static let hyperbolicTangent = elementwise("tanh", "The hyperbolic tangent.") { tanh($1) }

  /// 1 / (1 + exp(-x)).
  static let logistic = elementwise("sigmoid", aliases: ["logistic"], "The logistic function.") { sigmoid($1) }

  /// clip(x / 6 + 1 / 2, 0, 1).
  static let hardSigmoid = elementwise("hard_sigmoid", "A sigmoid of three lines.", properties: []) {
    let isInside = ($1 .> -3) .& ($1 .< 3)
    return (clamp($1 + 3, 0, 6) / 6).withSlopes([(by: $1, slope: .select(isInside, .constant(1.0 / 6), .constant(0)))])
  }

  /// x / (1 + |x|). Its slope is 1 / (1 + |x|)^2.
  static let softsign = elementwise("softsign", "x / (1 + |x|).", properties: []) {
    ($1.bounded / (1 + abs($1.bounded))).withSlopes([(by: $1, slope: reciprocal(square(1 + abs($1))))])
  }
}
