import TemperCatalogue
import TemperGraph

// Limits at -infinity are reached: x is `bounded` where a gate of 0 stands beside it.

extension Activations {
  static let smoothRectifiers = [gaussianErrorLinear, swish, softRectifier, mish, hardSwish]

  /// x Phi(x), or with approximate = tanh: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
  static let gaussianErrorLinear = elementwise(
    "gelu", "x times the probability that a standard normal is below x.",
    Reference("Hendrycks and Gimpel", 2016, "Gaussian Error Linear Units (GELUs)", arXiv: "1606.08415"),
    [.choice("approximate", ["none", "tanh"], "Exact, or by a hyperbolic tangent.")]
  ) { x, z in
    let gate: Expression
    let slope: Expression
    if x.text("approximate") == "none" {
      gate = normalCDF(z)
      slope = (0.5 / Double.pi).squareRoot() * exp(-0.5 * square(z))
    } else {
      let near = clamp(z, -1e6, 1e6)  // whose cube is finite
      let c = (2 / Double.pi).squareRoot()
      let bend = tanh(c * (near + 0.044715 * (near * square(near))))
      gate = 0.5 * (1 + bend)
      slope = 0.5 * c * ((1 - square(bend)) * (1 + 3 * 0.044715 * square(near)))
    }
    return (z.bounded * gate).withSlopes([(by: z, slope: gate + z.bounded * slope)])
  }

  /// x sigmoid(beta x) = x g. Its slope is g (1 + beta x (1 - g)).
  static let swish = elementwise(
    "silu", aliases: ["swish"], "x times its sigmoid.",
    Reference("Ramachandran, Zoph and Le", 2017, "Searching for Activation Functions", arXiv: "1710.05941"),
    [.real("beta", 1, "The steepness of the sigmoid.")]
  ) { x, z in
    let beta = x.real("beta")
    let gate = sigmoid(beta * z)
    return (z.bounded * gate).withSlopes([(by: z, slope: gate * (1 + beta * (z.bounded * (1 - gate))))])
  }

  /// log(1 + exp(beta x)) / beta.
  static let softRectifier = elementwise(
    "softplus", "A smooth rectifier, above 0 everywhere.", nil,
    [.real("beta", 1, in: .positive, "How sharp the bend is.")]
  ) { x, z in softplus(x.real("beta") * z) / x.real("beta") }

  /// x tanh(log(1 + exp(x))) = x t. Its slope is t + x (1 - t^2) sigmoid(x).
  static let mish = elementwise(
    "mish", "x times the hyperbolic tangent of its softplus.",
    Reference("Misra", 2020, "Mish: A Self Regularized Non-Monotonic Activation Function", arXiv: "1908.08681")
  ) { _, z in
    let gate = tanh(softplus(z))
    return (z.bounded * gate).withSlopes([(by: z, slope: gate + z.bounded * ((1 - square(gate)) * sigmoid(z)))])
  }

  /// x clip(x + 3, 0, 6) / 6. Its slope is x / 3 + 1 / 2 between -3 and 3.
  static let hardSwish = elementwise(
    "hard_swish", aliases: ["hardswish"], "x times a sigmoid of three lines.",
    Reference("Howard et al.", 2019, "Searching for MobileNetV3", arXiv: "1905.02244"), properties: []
  ) { _, z in
    let slope = Expression.select(z .< -3, .constant(0), .select(z .> 3, .constant(1), (1.0 / 3) * z + 0.5))
    return (maximum(z, -3) * (clamp(z + 3, 0, 6) / 6)).withSlopes([(by: z, slope: slope)])
  }
}
