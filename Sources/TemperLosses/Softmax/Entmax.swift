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
    properties: ["shift_invariant", "simplex"],
    implementation: .operation { x in x.entmax(x["x"]).probabilities })

  /// (p - t) . z + H(p) - H(t), p = entmax(z), H(p) = sum_c (p_c - p_c^alpha) / (alpha (alpha - 1)). Its gradient is p - t.
  static let entmaxLoss = Method(
    "entmax_loss", kind: .loss, area: "softmax",
    summary: "The convex loss whose gradient is entmax(logits) - targets; 0 once the lead is 1 / (alpha - 1).",
    reference: Reference(
      "Blondel, Martins and Niculae", 2019, "Learning with Fenchel-Young Losses", arXiv: "1901.02324"),
    parameters: [.entmaxAlpha], inputs: [.logits, .shareTargets, .entmaxAlpha],
    properties: ["shift_invariant", "nonnegative"],
    implementation: .loss { x in
      guard let alpha = x.entmaxAlpha else {
        // alpha = 1: cross-entropy less the entropy of the targets.
        let isZero = x.targetProbabilities .== 0
        return x.expectation(log(.select(isZero, .constant(1), x.targetProbabilities)) - x.logProbabilities)
      }
      let (conjugate, shifted) = x.logits.entmaxConjugate(alpha)
      guard x.targets.kind == .real else { return conjugate - x.expectation(shifted) }
      let entropy = (x.targets - pow(x.targets, alpha)).sum() / (alpha * (alpha - 1))
      return conjugate - x.expectation(shifted) - entropy
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
    // Entries of -inf (masks) are not there.
    let isOut = z .== -.infinity
    switch x.text("form") {
    case "exponential":
      // exp(z) - exp(max z): beyond exp(60) only what equals the largest is left.
      let largest = exp(minimum(z.maximum(), 60)).stopGradient
      return Expression.select(isOut, z, largest * expm1(z.shifted) / scale).sparsemax()
    case "square": return Expression.select(isOut, z, square(.select(isOut, .constant(0), z)) / scale).sparsemax()
    default: return (z.shifted / scale).sparsemax()
    }
  }

  /// sparsemax((1 + D q) / (|sum x| + D q) x): for q = 0 rows scale freely, for large q it is sparsemax.
  static let sparsehourglass = rowOperator(
    "sparsehourglass", "Sparsemax between invariance to scale and invariance to shifts.", sparsegenReference,
    [.real("q", 1, in: .positive, "The larger, the nearer to sparsemax.")], properties: ["simplex"]
  ) { x, z in
    // Entries of -inf (masks) are not there.
    let isOut = z .== -.infinity
    let near = Expression.select(isOut, .constant(0), z)
    let dq = (Double(z.shape.last) - isOut.sum()) * x.real("q")
    return Expression.select(isOut, z, (1 + dq) / (abs(near.sum()) + dq) * near).sparsemax()
  }

  private static let sparsegenReference = Reference(
    "Laha, Chemmengath, Agrawal, Khapra, Sankaranarayanan and Ramaswamy", 2018,
    "On Controllable Sparse Alternatives to Softmax",
    arXiv: "1810.11975")
}

extension Parameter {
  fileprivate static let entmaxAlpha = Parameter.real(
    "alpha", 1.5, in: Interval(1, .infinity, includesUpper: false), "1 is softmax, 2 is sparsemax.")
}

extension Input {
  fileprivate static let entmaxAlpha = Input(
    "alpha", [.init([])], isOptional: true, in: Interval(1, .infinity, includesLower: false),
    "In place of the parameter, with a gradient; above 1.")
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
    let (z, threshold, _) = powerThreshold(s)
    let powers = z.powers(s, above: threshold)
    return (powers.value, powers.isIn)
  }

  /// The largest p . z + H(p) over the simplex for z = x - max x, and z: its derivative by z is p = entmax(z), by alpha that
  /// of the entropy H.
  func entmaxConjugate(_ alpha: Expression) -> (value: Expression, shifted: Expression) {
    let s = alpha - 1
    let (z, threshold, value) = powerThreshold(s)
    // What is below the threshold counts as the threshold: p = 0.
    let above = TemperGraph.maximum(z, threshold) - threshold
    var (base, p) = (above, above)
    switch s.constantValue {
    case 1: break
    case 0.5: p = 0.25 * square(above)
    default: (base, p, _, _) = z.powers(s, above: threshold)
    }
    var slopes = [(by: self, slope: p)]
    if alpha.constantValue == nil {
      // p^alpha = p u
      let entropy = (p - p * base).sum(), logarithms = (p * base * TemperGraph.log(base)).sum() / s
      let area = alpha * s
      slopes.append((by: alpha, slope: -logarithms / area - entropy * (2 * alpha - 1) / square(area)))
    }
    return (value.withSlopes(slopes), z)
  }
}
