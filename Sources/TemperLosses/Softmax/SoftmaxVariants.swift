import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let softmaxVariants = [
    onlineSoftmax, twoPassSoftmax, adaptiveTemperature, boltzmann, selfAdjust, softpick, sparsemaxLoss, stablemax,
    stablemaxCrossEntropy, maskedCrossEntropy, sparseNoisySoftmax, softTopk, denseToSparseGate,
    quantizedSoftmax,
  ]

  /// The same function as softmax: our softmax is fused into one row program, which reads a row that fits the cache once.
  static let onlineSoftmax = rowOperator(
    "online_softmax", "Softmax with the maximum and the sum found together; -inf everywhere gives NaN.",
    Reference(
      "Milakov and Gimelshein", 2018, "Online normalizer calculation for softmax", arXiv: "1805.02867"),
    properties: ["smooth", "shift_invariant", "simplex"]
  ) { $1.softmax() }

  static let twoPassSoftmax = rowOperator(
    "two_pass_softmax", "Softmax of rows that do not fit the cache; -inf everywhere gives NaN.",
    Reference("Dukhan and Ablavatski", 2020, "The Two-Pass Softmax Algorithm", arXiv: "2001.04438"),
    properties: ["smooth", "shift_invariant", "simplex"]
  ) { $1.softmax() }

  /// softmax(beta x): beta = max(poly(H), min_beta) where H = -sum p log(p + 1e-9) is above the threshold, else 1.
  static let adaptiveTemperature = rowOperator(
    "adaptive_temperature_softmax", "Softmax that sharpens rows whose entropy is high.",
    Reference(
      "Velickovic, Perivolaropoulos, Barbero and Pascanu", 2024,
      "softmax is not enough (for sharp out-of-distribution)",
      arXiv: "2410.01104"),
    [
      .boolean("through_entropy", true, "Gradients also flow through the temperature."),
      .real("entropy_threshold", 0.5, in: .nonNegative, "Rows below this entropy stay as they are."),
      .real("min_beta", 1, in: .positive, "The least factor."),
    ], properties: ["shift_invariant", "simplex"]
  ) { x, z in
    let p = z.softmax()
    let h = -(p * log(p + 1e-9)).sum()
    let poly = -1.791 + h * (4.917 + h * (-2.3 + h * (0.481 - 0.037 * h)))
    let sharp = Expression.select(
      h .> x.real("entropy_threshold"), maximum(poly, x.real("min_beta")), .constant(1))
    let beta = x.boolean("through_entropy") ? sharp : sharp.stopGradient
    // Masked entries stay -inf without -inf * slope in the gradient of beta.
    let isMasked = z .== -.infinity
    return Expression.select(isMasked, .constant(-.infinity), beta * .select(isMasked, .constant(0), z.shifted))
      .softmax()
  }

  /// sum_i x_i softmax(t x)_i.
  static let boltzmann = Method(
    "boltzmann_operator", kind: .op, area: "softmax",
    summary: "The softmax-weighted mean of a row: between its mean (t = 0) and its maximum.",
    reference: Reference(
      "Kajitsuka and Sato", 2024,
      "Are Transformers with One Layer Self-Attention Using Low-Rank Weight Matrices Universal Approximators?",
      arXiv: "2307.14023"),
    parameters: [.real("t", 1, "The inverse temperature, if it does not come as an input.")],
    inputs: [
      Input("x", [.init(["...", "D"])], "Rows along the axis."),
      Input("t", [.init([])], isOptional: true, "The inverse temperature."),
    ],
    properties: ["smooth", "reduces_axis"],
    implementation: .operation { x in
      let z = x["x"]
      let t = x.has("t") ? x["t"] : .constant(x.real("t"))
      let isMasked = z .== -.infinity
      let values = Expression.select(isMasked, .constant(0), z)
      let p = Expression.select(isMasked, .constant(-.infinity), t * values.shifted).softmax()
      return (p * values).sum()
    })

  /// plain: x softmax(x). normalized: (x - a + bias) / (b - a) softmax(x), a = min(min x, 0), b = max(max x + eps, 0) + eps.
  /// Entries of -inf give 0 and leave the range.
  static let selfAdjust = rowOperator(
    "self_adjust_softmax", "Softmax weighted by the scores themselves, so that gradients survive saturation.",
    Reference("Zheng et al.", 2025, "Self-Adjust Softmax", arXiv: "2502.18277"),
    [
      .choice("variant", ["normalized", "plain"], "Scores brought to 0 to 1, or as they are."),
      .real("eps", 1e-10, in: .nonNegative, "Added to the upper end of the range."),
      .real("numerator_bias", 0, "Added to the scores over the lower end of the range."),
      .boolean("detach_range", false, "The range is a constant for gradients."),
    ], properties: []
  ) { x, z in
    let isMasked = z .== -.infinity
    let values = Expression.select(isMasked, .constant(0), z)
    if x.text("variant") == "plain" { return values * z.softmax() }
    let eps = x.real("eps")
    var low = minimum(values.minimum(), 0)
    var high = maximum(values.maximum() + eps, 0) + eps
    if x.boolean("detach_range") { (low, high) = (low.stopGradient, high.stopGradient) }
    return (values - low + x.real("numerator_bias")) / (high - low) * z.softmax()
  }

  /// max(exp(x_i) - 1, 0) / (sum_j |exp(x_j) - 1| + eps), with both sides divided by exp(m), m = max(0, max x). Entries
  /// of -inf give 0 and leave the sum.
  static let softpick = rowOperator(
    "softpick",
    "A rectified softmax: negative scores get exactly 0, and rows may be all zero. In a small transformer it loses less than softmax at 8, 4 and 3 bits, at 2 bits more.",
    Reference(
      "Zuhri, Fuadi and Aji", 2025, "Softpick: No Attention Sink, No Massive Activations with Rectified Softmax",
      arXiv: "2504.20966"),
    [.real("eps", 1e-8, in: .positive, "Added to the sum, relative to exp(m).")], properties: []
  ) { x, z in
    let m = maximum(z.maximum(), 0).stopGradient
    let isMasked = z .== -.infinity
    let rest = Expression.select(isMasked, .constant(0), exp(z - m) - exp(-m))
    return relu(rest) / (abs(rest).sum() + x.real("eps"))
  }

  /// -q . z + (sum over the support of (z_j^2 - tau^2)) / 2 + |q|^2 / 2, support and tau those of sparsemax(z).
  static let sparsemaxLoss = Method(
    "sparsemax_loss", kind: .loss, area: "softmax",
    summary: "The convex loss whose gradient is sparsemax(logits) - targets; 0 once the lead is 1.",
    reference: sparsemax.reference, inputs: [.logits, .targets], properties: ["shift_invariant", "nonnegative"],
    implementation: .loss { x in
      // p . z + (1 - |p|^2) / 2 at its maximum p = sparsemax(z); its gradient is p.
      let targets = x.targets.kind == .index ? Expression.constant(1) : square(x.targets).sum()
      let (conjugate, shifted) = x.logits.entmaxConjugate(.constant(2))
      return conjugate - 0.5 * (1 - targets) - x.expectation(shifted)
    })

  /// s(x_i) / sum_j s(x_j), s(x) = x + 1 above 0, 1 / (1 - x) below.
  static let stablemax = rowOperator(
    "stablemax", "Softmax with a line and a hyperbola in place of the exponential.",
    Reference(
      "Prieto, Barsbey, Mediano and Birdal", 2025, "Grokking at the Edge of Numerical Stability", arXiv: "2501.04697"),
    properties: ["simplex"]
  ) { _, z in
    let isUp = z .>= 0
    let s = Expression.select(isUp, z + 1, 1 / (1 - .select(isUp, .constant(0), z)))
    return s / s.sum()
  }

  /// log sum_j s(z_j) - log s(z_y), log s(x) = log(1 + x) above 0, -log(1 - x) below.
  static let stablemaxCrossEntropy = Method(
    "stablemax_cross_entropy", aliases: ["stablemax_ce"], kind: .loss, area: "softmax",
    summary: "Cross-entropy under stablemax: it falls like a power, so float32 never absorbs the small terms.",
    reference: stablemax.reference, inputs: [.logits, .targets], properties: ["nonnegative"],
    implementation: .loss { x in
      let z = x.logits
      let isUp = z .>= 0
      let logarithm = log1p(.select(isUp, z, -z))
      // s(z) = max(z, 0) + b, b = 1 / (1 - min(z, 0)), which is 1 above 0: there and below its slope is b^2.
      let b = reciprocal(1 - minimum(z, 0))
      let sum = (TemperGraph.maximum(z, 0) + b).sum().withSlopes([(by: z, slope: square(b))])
      return log(sum) - x.expectation(.select(isUp, logarithm, -logarithm))
    })

  /// Cross-entropy of z where visible, the constant m elsewhere.
  static let maskedCrossEntropy = Method(
    "masked_softmax_ce", aliases: ["masked_cross_entropy"], kind: .loss, area: "softmax",
    summary: "Cross-entropy over the classes that are visible; hidden ones get a constant score and no gradient.",
    reference: Reference(
      "Kim et al.", 2023, "Revisiting Softmax Masking for Stability in Continual Learning", arXiv: "2309.14808"),
    parameters: [.real("mask_value", -.infinity, "The score of hidden classes; -inf removes them.")],
    inputs: [
      .logits, .targets, Input("visible", [.init(["N", "C"], .mask)], "1 for the classes that take part."),
    ],
    properties: ["nonnegative"],
    check: { (inputs, _) throws(TemperError) in
      guard let ids = inputs["targets"], let visible = inputs["visible"] else { return }
      if let hidden = try visible.firstZero(at: ids) {
        throw TemperError(
          .outOfRange,
          "The target of sample \(hidden.row), class \(hidden.column), is not visible; targets must be.")
      }
    },
    implementation: .loss { x in
      let hidden = x.real("mask_value"), z = Expression.select(x["visible"], x.logits, .constant(hidden))
      guard hidden == -.infinity, x.targets.kind == .index else { return x.crossEntropy(z) }
      // The softmax of -inf is 0 already, and targets are visible.
      let target = Expression.place(.constant(-1, x.targets.shape), at: x.targets, columns: x.classes)
      return x.crossEntropy(z).withSlopes([(by: x.logits, slope: z.softmax()), (by: x.logits, slope: target)])
    })

  /// softmax((x + noise) / T).
  static let sparseNoisySoftmax = Method(
    "sparse_noisy_softmax", kind: .op, area: "softmax",
    summary: "Softmax at a low temperature, of scores moved by noise.",
    reference: Reference(
      "Zhang and Ding", 2022, "Small Temperature is All You Need for Differentiable Architecture Search",
      arXiv: "2306.06855"),
    parameters: [.real("T", 1, in: .positive, "The temperature.").named(also: "temperature")],
    inputs: [
      Input("x", [.init(["...", "D"])], "Rows along the axis."),
      Input("noise", [.init(["...", "D"])], isOptional: true, "Added to the scores; none in evaluation."),
    ],
    properties: ["smooth", "shift_invariant", "simplex"],
    implementation: .operation { x in
      ((x.has("noise") ? x["x"] + x["noise"] : x["x"]) / x.real("T")).softmax()
    })

  /// softmax((act(x W) + b) / tau), or act(x W + b) / tau.
  static let denseToSparseGate = Method(
    "activation_dense_to_sparse_gate", kind: .op, area: "softmax",
    summary: "A gate over experts whose temperature goes from dense to sparse.",
    reference: Reference(
      "Nguyen, Nguyen and Ho", 2024, "Is Temperature Sample Efficient for Softmax Gaussian Mixture of Experts?",
      arXiv: "2401.13875"),
    parameters: [
      .choice("act", ["sigmoid", "tanh", "gelu", "square", "identity"], "The function before the temperature."),
      .boolean("bias_inside", false, "The bias goes through the function too."),
    ],
    inputs: [
      Input("x", [.init(["N", "D"])], "Inputs."), Input("weights", [.init(["D", "K"])], "A column for each expert."),
      Input("bias", [.init(["K"])], isOptional: true, "A bias for each expert."),
      Input("tau", [.init([])], isOptional: true, in: .positive, "The temperature, above 0; 1 without it."),
    ],
    properties: ["smooth"],
    implementation: .operation { x in
      let scores = Expression.matmul(x["x"], x["weights"])
      let bias = x.has("bias") ? x["bias"] : .constant(0)
      func act(_ z: Expression) -> Expression {
        switch x.text("act") {
        case "sigmoid": sigmoid(z)
        case "tanh": tanh(z)
        case "gelu": z * normalCDF(z)
        case "square": square(z)
        default: z
        }
      }
      let gate = x.boolean("bias_inside") ? act(scores + bias) : act(scores) + bias
      return (x.has("tau") ? gate / x["tau"] : gate).softmax()
    })
}
