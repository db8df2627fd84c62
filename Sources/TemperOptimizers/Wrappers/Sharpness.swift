import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// Sharpness-aware methods around any optimizer: its gradient is taken at w + e, e an ascent of length rho, on the same
/// samples; weight decay stays at w.
extension Optimizers {
  static let sharpnessWrappers = [
    sharpnessAware, adaptiveSharpnessAware, surrogateGap, efficientSharpnessAware, lookSharpnessAware, friendly,
    fisherMasked,
  ]

  private static let rho = Parameter.real("rho", 0.05, in: .nonNegative, "The length of the ascent.")
  private static let eps = Parameter.real("eps", 1e-12, in: .nonNegative, "Added to the norm.")
  private static let foret = Reference(
    "Foret, Kleiner, Mobahi and Neyshabur", 2021,
    "Sharpness-Aware Minimization for Efficiently Improving Generalization", arXiv: "2010.01412")

  /// rho / (|v| + eps), |v| over all parameters together.
  private static func ascent(_ x: Update, _ name: String, _ v: Expression) -> Expression {
    let (rho, eps) = (x.real("rho"), x.real("eps"))
    x.totals([(name, squaredLength(v))])
    return x.number(name + "_length") { rho / ($0[name].squareRoot() + eps) }
  }

  /// e = rho g / |g|; for another p, with 1 / p + 1 / q = 1, e = rho sign(g) |g|^(q - 1) / (sum |g|^q)^(1 / p).
  /// Adaptive: e = rho T^2 g / |T g| with T = |w| + eta.
  static let sharpnessAware = Method.around(
    "sam", aliases: ["sharpness_aware_minimization"],
    "Takes the gradient at the worst point within a distance.", foret,
    [
      rho, .real("p", 2, in: Interval(1, .infinity), "The norm of the ascent."), eps,
      .boolean("adaptive", false, "Measure distances in units of the parameters (asam)."),
      .real("eta", 0.01, in: .nonNegative, "Added to the magnitude of parameters where adaptive."),
    ]
  ) { (x, base) throws(TemperError) in
    let (w, g, p, rho) = (x.parameter, x.gradient, x.real("p"), x.real("rho"))
    let e: Expression
    if x.boolean("adaptive") {
      let scale = abs(w) + x.real("eta")
      e = ascent(x, "square", scale * g) * square(scale) * g
    } else if p == 2 {
      e = ascent(x, "square", g) * g
    } else if p.isInfinite {
      e = rho * sign(g)
    } else if p == 1 {
      // The whole length in the steepest coordinates.
      let largest = x.gathered("largest", abs(g)) { (arrays) throws(TemperError) in try largestElement(arrays) }
      let isLargest = abs(g) .>= largest
      e = rho / x.total("count", isLargest.sumAll()) * isLargest * sign(g)
    } else {
      let (q, eps) = (p / (p - 1), x.real("eps"))
      x.totals([("power", pow(abs(g), q).sumAll())])
      e = x.number("length") { rho / (pow($0["power"], 1 / p) + eps) } * sign(g) * pow(abs(g), q - 1)
    }
    return try x.inner(base, gradient: x.gradient("ascended", at: w + e))
  }

  /// e = rho T^2 g / |T g| with T = |w| + eta.
  static let adaptiveSharpnessAware = Method.around(
    "asam", aliases: ["adaptive_sam"], "Sharpness that scaling the parameters does not change.",
    Reference(
      "Kwon, Kim, Park and Choi", 2021,
      "ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural Networks",
      arXiv: "2102.11600"),
    [
      .real("rho", 0.5, in: .nonNegative, "The length of the ascent."), eps,
      .real("eta", 0.01, in: .nonNegative, "Added to the magnitude of parameters."),
    ]
  ) { (x, base) throws(TemperError) in
    let scale = abs(x.parameter) + x.real("eta")
    let e = ascent(x, "square", scale * x.gradient) * square(scale) * x.gradient
    return try x.inner(base, gradient: x.gradient("ascended", at: x.parameter + e))
  }

  /// With s the gradient at w + rho g / |g|: s - alpha (g - <g, s> / |s|^2 s), which also lowers the gap between the two
  /// losses.
  static let surrogateGap = Method.around(
    "gsam", aliases: ["surrogate_gap_sam"], "Lowers the loss nearby, and how far it lies above the loss here.",
    Reference(
      "Zhuang et al.", 2022, "Surrogate Gap Minimization Improves Sharpness-Aware Training", arXiv: "2203.08065"),
    [rho, eps, .real("alpha", 0.4, in: .nonNegative, "The weight of the gap.")]
  ) { (x, base) throws(TemperError) in
    let g = x.gradient
    let s = x.gradient("ascended", at: x.parameter + ascent(x, "square", g) * g)
    x.totals([("product", (g * s).sumAll()), ("ascended_square", square(s).sumAll())])
    let share = x.number("share") { $0["ascended_square"] > 0 ? $0["product"] / $0["ascended_square"] : 0 }
    return try x.inner(base, gradient: s - x.real("alpha") * (g - share * s))
  }

  /// The ascent moves each coordinate with probability beta, by 1 / beta times as much. Which samples the second gradient
  /// is taken over is the closure's choice.
  static let efficientSharpnessAware = Method.around(
    "esam", aliases: ["efficient_sam"], "Ascends in a random part of the coordinates.",
    Reference(
      "Du et al.", 2022, "Efficient Sharpness-aware Minimization for Improved Training of Neural Networks",
      arXiv: "2110.03141"),
    [
      rho, eps,
      .real("beta", 0.6, in: Interval(0, 1, includesLower: false), "The share of coordinates that ascend."), .seed,
    ]
  ) { (x, base) throws(TemperError) in
    let beta = x.real("beta")
    let chosen = beta == 1 ? Expression.constant(1) : (x.uniform(0) .< beta) / beta
    let e = ascent(x, "square", x.gradient) * x.gradient * chosen
    return try x.inner(base, gradient: x.gradient("ascended", at: x.parameter + e))
  }

  /// Every k steps v = s - <s, g> / |g|^2 g, the part of the ascended gradient across g; in between the gradient is
  /// g + alpha |g| / |v| v.
  static let lookSharpnessAware = Method.around(
    "looksam", aliases: ["look_sam"], "Ascends every k steps and remembers the direction.",
    Reference(
      "Liu, Mai, Chen, Hsieh and You", 2022, "Towards Efficient and Scalable Sharpness-Aware Minimization",
      arXiv: "2203.02714"),
    [
      rho, eps, .integer("k", 5, in: 1 ... .max, "Steps from one ascent to the next."),
      .real("alpha", 0.7, in: .nonNegative, "The weight of the direction that is remembered."),
    ]
  ) { (x, base) throws(TemperError) in
    let (g, k, alpha) = (x.gradient, x.integer("k"), x.real("alpha"))
    let isDue: @Sendable (StepNumbers) -> Bool = { ($0.step - 1) % k == 0 }
    let old = x.state("direction")
    let ascended = x.gradient("ascended", at: x.parameter + ascent(x, "square", g) * g, when: isDue)
    x.totals([("product", (g * ascended).sumAll()), ("direction_square", square(old).sumAll())])
    let along = x.number("along") { $0["square"] > 0 ? $0["product"] / $0["square"] : 0 }
    let due = x.number("is_due") { isDue($0) ? 1 : 0 }
    x.set("direction", to: .select(due, ascended - along * g, old))
    let weight = x.number("weight") {
      $0["direction_square"] > 0 ? alpha * ($0["square"] / $0["direction_square"]).squareRoot() : 0
    }
    return try x.inner(base, gradient: .select(due, ascended, g + weight * old))
  }

  /// The ascent goes along g - sigma m, m an average of gradients: along the part that belongs to these samples alone.
  static let friendly = Method.around(
    "friendly_sam", aliases: ["f_sam"], "Ascends along what these samples add to the full gradient.",
    Reference(
      "Li, Zhou, He, Cheng and Huang", 2024, "Friendly Sharpness-Aware Minimization", arXiv: "2403.12350"),
    [
      rho, eps, .real("sigma", 1, in: .nonNegative, "The share of the average that is taken out."),
      .real("lam", 0.9, in: .belowOne, "How slowly the average moves.").named(also: "lambda", "lmbda"),
    ]
  ) { (x, base) throws(TemperError) in
    let (g, lambda) = (x.gradient, x.real("lam"))
    let kept = x.number("kept") { $0.step == 1 ? 0 : lambda }
    let m = kept * x.state("average") + (1 - kept) * g
    x.set("average", to: m)
    let own = g - x.real("sigma") * m
    return try x.inner(
      base, gradient: x.gradient("ascended", at: x.parameter + ascent(x, "square", own) * own))
  }

  /// The ascent of sam in the share of coordinates with the largest squared gradients, chosen every so many steps among
  /// all parameters together; vectors ascend whole if they are left out of the choice.
  static let fisherMasked = Method.around(
    "fisher_sam_mask", aliases: ["fsam"], "Ascends in the coordinates with the most Fisher information.",
    Reference(
      "Zhong et al.", 2022,
      "Improving Sharpness-Aware Minimization with Fisher Mask for Better Generalization on Language Models",
      arXiv: "2210.05497"),
    [
      rho, .real("eps", 1e-7, in: .nonNegative, "Added to the norm."),
      .real("keep_ratio", 0.1, in: .unit, "The share of coordinates that ascend."),
      .integer("mask_interval", 100, in: 1 ... .max, "Steps from one choice to the next."),
      .boolean("unmasked_vectors", false, "Vectors (biases, scales) are not chosen from and ascend whole."),
    ], base: "adam", isElementwise: false
  ) { (x, base) throws(TemperError) in
    let (g, interval, share) = (x.gradient, x.integer("mask_interval"), x.real("keep_ratio"))
    let isDue: @Sendable (StepNumbers) -> Bool = { ($0.step - 1) % interval == 0 }
    let isFree = x.boolean("unmasked_vectors") && g.shape.rank < 2
    // What is left out of the choice counts as NaN, below everything.
    let threshold = x.gathered("threshold", isFree ? Expression.constant(.nan, g.shape) : square(g), when: isDue) {
      (arrays) throws(TemperError) in
      var values: [Double] = []
      for array in arrays { values += try array.array(of: Double.self).filter { !$0.isNaN } }
      let count = Int(share * Double(values.count))
      guard count > 0 else { return .infinity }
      return values.sorted()[values.count - count]
    }
    let old = x.state("mask")
    let chosen = Expression.select(x.number("is_due") { isDue($0) ? 1 : 0 }, square(g) .>= threshold, old)
    let mask = isFree ? .constant(1, g.shape) : chosen
    x.set("mask", to: mask)
    return try x.inner(
      base, gradient: x.gradient("ascended", at: x.parameter + ascent(x, "square", g) * g * mask))
  }
}

/// Of all arrays.
func largestElement(_ arrays: [Tensor]) throws(TemperError) -> Double {
  var most = 0.0
  for array in arrays { for value in try array.array(of: Double.self) { most = max(most, value) } }
  return most
}
