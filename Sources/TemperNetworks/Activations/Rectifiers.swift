import TemperCatalogue
import TemperGraph

extension Activations {
  static let rectifiers = [rectifier, leakyRectifier, exponentialLinear, scaledExponentialLinear, rectifier6, identity]

  /// max(x, 0), with slope 0 at 0.
  static let rectifier = elementwise("relu", "x above 0, else 0.", properties: []) { relu($1) }

  /// x above 0, else slope x. Maas, Hannun and Ng, 2013.
  static let leakyRectifier = elementwise(
    "leaky_relu", "A rectifier with a small slope below 0.",
    Reference("Maas, Hannun and Ng", 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models"),
    [.real("negative_slope", 0.01, "The slope below 0.")], properties: []
  ) { x, z in .select(z .> 0, z, x.real("negative_slope") * z) }

  /// x above 0, else alpha (exp(x) - 1).
  static let exponentialLinear = elementwise(
    "elu", "A rectifier with an exponential tail.",
    Reference(
      "Clevert, Unterthiner and Hochreiter", 2016,
      "Fast and Accurate Deep Network Learning by Exponential Linear Units (ELUs)", arXiv: "1511.07289"),
    [.real("alpha", 1, in: .nonNegative, "Minus the limit at -infinity.")], properties: []
  ) { x, z in exponential(z, alpha: x.real("alpha"), scale: 1) }

  /// scale (x above 0, else alpha (exp(x) - 1)), with the fixed point mean 0 and variance 1.
  static let scaledExponentialLinear = elementwise(
    "selu", "ELU with the constants that keep mean 0 and variance 1.",
    Reference(
      "Klambauer, Unterthiner, Mayr and Hochreiter", 2017, "Self-Normalizing Neural Networks", arXiv: "1706.02515"),
    properties: []
  ) { _, z in exponential(z, alpha: 1.6732632423543772, scale: 1.0507009873554805) }

  private static func exponential(_ z: Expression, alpha: Double, scale: Double) -> Expression {
    let tail = expm1(minimum(z, 0))
    return Expression.select(z .> 0, scale * z, scale * alpha * tail)
      .withSlopes([(by: z, slope: .select(z .> 0, .constant(scale), scale * alpha * (tail + 1)))])
  }

  /// min(max(x, 0), 6), with slope 0 at 0 and at 6.
  static let rectifier6 = elementwise("relu6", "A rectifier that stops at 6.", properties: []) {
    clamp($1, 0, 6).withSlopes([(by: $1, slope: ($1 .> 0) .& ($1 .< 6))])
  }

  static let identity = elementwise("identity", aliases: ["linear"], "x itself.") { $1 }
}
