import TemperCatalogue
import TemperGraph

extension Activations {
  static let smoothRectifiers = [gaussianErrorLinear, swish, softRectifier, mish, hardSwish]

  /// x Phi(x), or with approximate = tanh: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
  static let gaussianErrorLinear = elementwise(
    "gelu", "x times the probability that a standard normal is below x.",
    Reference("Hendrycks and Gimpel", 2016, "Gaussian Error Linear Units (GELUs)", arXiv: "1606.08415"),
    [.choice("approximate", ["none", "tanh"], "Exact, or by a hyperbolic tangent.")]
  ) { x, z in
    x.text("approximate") == "none"
      ? z * normalCDF(z)
      : 0.5 * z * (1 + tanh((2 / Double.pi).squareRoot() * (z + 0.044715 * (z * square(z)))))
  }

  /// x sigmoid(beta x).
  static let swish = elementwise(
    "silu", aliases: ["swish"], "x times its sigmoid.",
    Reference("Ramachandran, Zoph and Le", 2017, "Searching for Activation Functions", arXiv: "1710.05941"),
    [.real("beta", 1, "The steepness of the sigmoid.")]
  ) { x, z in z * sigmoid(x.real("beta") * z) }

  /// log(1 + exp(beta x)) / beta.
  static let softRectifier = elementwise(
    "softplus", "A smooth rectifier, above 0 everywhere.", nil,
    [.real("beta", 1, in: .positive, "How sharp the bend is.")]
  ) { x, z in softplus(x.real("beta") * z) / x.real("beta") }

  /// x tanh(log(1 + exp(x))).
  static let mish = elementwise(
    "mish", "x times the hyperbolic tangent of its softplus.",
    Reference("Misra", 2020, "Mish: A Self Regularized Non-Monotonic Activation Function", arXiv: "1908.08681")
  ) { $1 * tanh(softplus($1)) }

  /// x clip(x + 3, 0, 6) / 6.
  static let hardSwish = elementwise(
    "hard_swish", aliases: ["hardswish"], "x times a sigmoid of three lines.",
    Reference("Howard et al.", 2019, "Searching for MobileNetV3", arXiv: "1905.02244"), properties: []
  ) { $1 * (clamp($1 + 3, 0, 6) / 6) }
}
