import TemperCatalogue
import TemperGraph

extension Activations {
  static let sparse = [clippedSparse, corrected, adaptiveSparse, smoothedRectifier]

  /// crelu: min(max(x - tau, 0), m); cst: the same of |x|, with the sign of x. m = infinity: no clip.
  static let clippedSparse = elementwise(
    "clipped_sparse_activation", "A rectifier or soft threshold that stops growing at m.",
    Reference(title: "Deep Neural Network Initialization with Sparsity Inducing Activations", arXiv: "2402.16184"),
    [
      .real("tau", 1.0364333894937896, in: .nonNegative, "Where it begins; this makes 85% of normal inputs 0."),
      .real("m", 1, in: .positive, "Where it ends."), .choice("form", ["crelu", "cst"], "One side, or both."),
    ], properties: []
  ) { x, z in
    let (tau, m) = (x.real("tau"), x.real("m"))
    return x.text("form") == "crelu" ? clamp(z - tau, 0, m) : sign(z) * clamp(abs(z) - tau, 0, m)
  }

  /// max(x, 0) + eps x exp(-x^2 / 2).
  static let corrected = Method(
    "crrelu", kind: .activation, area: "regularize",
    summary: "A rectifier with a small bump on both sides of 0, whose height can be trained.",
    reference: Reference(title: "A Method on Searching Better Activation Functions", arXiv: "2405.12954"),
    inputs: [.anyArray, .number("eps", "The height of the bump; 0.01 without it.")],
    implementation: .operation { x in
      let (z, eps) = (x["x"], x.has("eps") ? x["eps"] : .constant(0.01))
      return relu(z) + eps * (z.bounded * exp(-0.5 * square(z.bounded)))
    })

  /// x sigmoid(alpha (x - mean - z_k std)); hard: clip(x, 0, clip_max) clip(u + 3, 0, 6) / 6 of the same u. Mean and
  /// population deviation are those of the row.
  static let adaptiveSparse = Method(
    "hard_ash", kind: .activation, area: "regularize",
    summary: "Lets through only what stands out among the features of a sample.",
    reference: Reference(
      title: "Hard ASH: Sparsity and the right optimizer make a continual learner", arXiv: "2404.17651"),
    parameters: [
      .real("alpha", 3, in: .positive, "The steepness of the gate."),
      .real("z_k", 2.3, "How many deviations above the mean the gate opens."),
      .real("clip_max", 2, in: .positive, "The largest value, of the hard form."),
      .boolean("hard", true, "Lines in place of the sigmoid."),
    ],
    inputs: [Input("x", [.init(["...", "D"])], "Rows of features along the axis.")],
    implementation: .operation { x in
      let z = x["x"]
      let centred = z - z.mean()
      let variance = square(centred).mean()
      let isFlat = variance .== 0
      let deviation = Expression.select(isFlat, .constant(0), sqrt(.select(isFlat, .constant(1), variance)))
      let u = x.real("alpha") * (centred - x.real("z_k") * deviation)
      return x.boolean("hard") ? clamp(z, 0, x.real("clip_max")) * (clamp(u + 3, 0, 6) / 6) : z * sigmoid(u)
    })

  /// a x + (1 - a) (x Phi(b x) + phi(b x) / b): a leaky rectifier of slope a blurred by a normal of deviation 1 / b. Its slopes are
  /// a + (1 - a) Phi by x and (a - 1) phi / b^2 by b.
  static let smoothedRectifier = Method(
    "sau", kind: .activation, area: "regularize",
    summary: "A leaky rectifier, smoothed by a Gaussian; slope and width can be trained.",
    reference: Reference(
      "Biswas, Kumar, Banerjee and Pandey", 2022,
      "SAU: Smooth activation function using convolution with approximate identities", arXiv: "2109.13210"),
    inputs: [
      .anyArray, .number("a", "The slope far below 0; 0.25 without it."),
      .number("b", in: .positive, "The inverse width, above 0; 5 without it."),
    ],
    properties: ["smooth"],
    implementation: .operation { x in
      let z = x["x"]
      let (a, b) = (x.has("a") ? x["a"] : .constant(0.25), x.has("b") ? x["b"] : .constant(5))
      let (near, share) = (z.bounded, normalCDF(b * z))
      let density = (1 / (2 * Double.pi).squareRoot()) * exp(-0.5 * square(b * z))
      let blurred = near * share + density / b
      return (a * z + (1 - a) * blurred).withSlopes([
        (by: z, slope: a + (1 - a) * share), (by: a, slope: z - blurred),
        (by: b, slope: -(1 - a) * (density / square(b))),
      ])
    })
}

extension Input {
  fileprivate static let anyArray = Input("x", [.init(["..."])], "Any array.")
  fileprivate static func number(_ name: String, in domain: Interval = .any, _ summary: String) -> Input {
    Input(name, [.init([])], isOptional: true, in: domain, summary)
  }
}
