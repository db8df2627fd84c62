import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let entmaxFamily = [entmax, entmaxLoss, sparsegen, sparsehourglass]

  /// max(0, 1 + (alpha - 1) (x - n))^(1 / (alpha - 1)) with n such that the row sums to 1.
  static let entmax = Method(
    "entmax", kind: .op, area: "softmax",
    summary: "Between softmax (alpha = 1) and sparsemax (alpha = 2), and beyond: the larger alpha, the sparser.",
    reference: entmax15.reference,
    parameters: [.entmaxAlpha],
    inputs: [Input("x", [.init(["...", "D"])], "Rows along the axis."), .entmaxAlpha],
    properties: ["shift_invariant", "simplex"], check: Losses.checkAlpha,
    implementation: .operation { x in x.entmax(x["x"]).probabilities })

  /// (p - t) . z + H(p) - H(t), p = entmax(z), H(p) = sum_c (p_c - p_c^alpha) / (alpha (alpha - 1)). Its gradient is p - t.
  static let entmaxLoss = Method(
    "entmax_loss", kind: .loss, area: "softmax",
    summary: "The convex loss whose gradient is entmax(logits) - targets; 0 once the lead is 1 / (alpha - 1).",
    reference: Reference(
      "Blondel, Martins and Niculae", 2019, "Learning with Fenchel-Young Losses", arXiv: "1901.02324"),
    parameters: [.entmaxAlpha], inputs: [.logits, .targets, .entmaxAlpha],
    properties: ["shift_invariant", "nonnegative"], check: Losses.checkAlpha,
    implementation: .loss { x in
      guard let alpha = x.entmaxAlpha else {
        // alpha = 1: cross-entropy less the entropy of the targets.
        let isZero = x.targetProbabilities .== 0
        return x.expectation(log(.select(isZero, .constant(1), x.targetProbabilities)) - x.logProbabilities)
      }
      let z = x.logits.shifted
      let (p, isIn) = x.entmax(x.logits)
      func entropy(_ p: Expression) -> Expression { (p - pow(p, alpha)).sum() / (alpha * (alpha - 1)) }
      let gain = Expression.select(isIn, p * z, .constant(0)).sum() + entropy(p)
      return gain - x.expectation(z) - (x.targets.kind == .index ? .constant(0) : entropy(x.targets))
    })

  /// The minimiser over the simplex of |p - g(x)|^2 - lam |p|^2: sparsemax(g(x) / (1 - lam)).
  static let sparsegen = rowOperator(
    "sparsegen", "Sparsemax whose sparsity is chosen.", sparsegenReference,
    [
      .real(
        "lam", 0.5, in: Interval(-.infinity, 1, includesUpper: false),
        "Near 1 one entry takes all; far below 0 they are equal."),
      .choice("form", ["linear", "exponential", "square"], "g: the scores, their exponentials, or their squares."),
    ], properties: ["simplex"]
  ) { x, z in
    let scale = 1 - x.real("lam")
    switch x.text("form") {
    case "exponential": return (exp(z) / scale).sparsemax()
    case "square": return (square(z) / scale).sparsemax()
    default: return (z / scale).sparsemax()
    }
  }

  /// sparsemax((1 + D q) / (|sum x| + D q) x): for q = 0 rows scale freely, for large q it is sparsemax.
  static let sparsehourglass = rowOperator(
    "sparsehourglass", "Sparsemax between invariance to scale and invariance to shifts.", sparsegenReference,
    [.real("q", 1, in: .positive, "The larger, the nearer to sparsemax.")], properties: ["simplex"]
  ) { x, z in
    let dq = Double(z.shape.last) * x.real("q")
    return ((1 + dq) / (abs(z.sum()) + dq) * z).sparsemax()
  }

  private static let sparsegenReference = Reference(
    "Laha, Chemmengath, Agrawal, Khapra, Sankaranarayanan and Ramaswamy", 2018,
    "On Controllable Sparse Alternatives to Softmax",
    arXiv: "1810.11975")

  private static let checkAlpha = elements(of: "alpha", are: "above 1 as an input") { $0 > 1 }
}

extension Parameter {
  fileprivate static let entmaxAlpha = Parameter.real(
    "alpha", 1.5, in: Interval(1, .infinity, includesUpper: false), "1 is softmax, 2 is sparsemax.")
}

extension Input {
  fileprivate static let entmaxAlpha = Input(
    "alpha", [.init([])], isOptional: true, "In place of the parameter, with a gradient; above 1.")
}

extension Formula {
  /// nil is 1.
  fileprivate var entmaxAlpha: Expression? {
    if has("alpha") { return self["alpha"] }
    return real("alpha") == 1 ? nil : .constant(real("alpha"))
  }

  fileprivate func entmax(_ x: Expression) -> (probabilities: Expression, isIn: Expression) {
    guard let alpha = entmaxAlpha else {
      let p = x.softmax()
      return (p, p .> 0)
    }
    return x.entmax(alpha)
  }
}

extension Expression {
  /// Entmax along the last axis, and where it is above 0.
  func entmax(_ alpha: Expression) -> (probabilities: Expression, isIn: Expression) {
    let s = alpha - 1
    // No entry this low is ever inside; without them -inf does no harm.
    let z = TemperGraph.maximum(shifted, -2 / s)
    func powers(_ n: Expression) -> (p: Expression, slope: Expression, isIn: Expression) {
      let u = 1 + s * (z - n)
      let isIn = not(u .<= 0).stopGradient  // NaN is in, and shows
      let inside = Expression.select(isIn, u, .constant(1))
      let p = Expression.select(isIn, TemperGraph.exp(TemperGraph.log(inside) / s), .constant(0))
      return (p, p / inside, isIn)
    }
    // The largest entry is at least 1 / D and at most 1: the bracket of n.
    let columns = TemperGraph.log(Expression.constant(Double(shape.last)))
    let rows = Shape(shape.sizes.dropLast() + [1])
    var low = Expression.zeros(rows)
    var high = (-TemperGraph.expm1(-s * columns) / s).broadcast(to: rows)
    for _ in 0..<40 {
      let middle = 0.5 * (low + high)
      let isLow = powers(middle).p.sum() .> 1
      (low, high) = (.select(isLow, middle, low), .select(isLow, high, middle))
    }
    var n = (0.5 * (low + high)).stopGradient
    // Steps of Newton with a constant slope: they finish the root and carry its first and second derivatives.
    for _ in 0..<2 {
      let (p, slope, _) = powers(n)
      n = n + (p.sum() - 1) / slope.sum().stopGradient
    }
    let (p, _, isIn) = powers(n)
    return (p, isIn)
  }
}
