import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// Bounds on gradients around any optimizer.
extension Optimizers {
  static let clippingWrappers = [
    clipByValue, clipByGlobalNorm, clipByLayerNorm, clipByQuantile, adaptiveGradientClipping,
  ]

  static let clipByValue = Method.around(
    "clip_by_value", "Every element of a gradient into [-bound, bound].", nil,
    [.real("bound", 1, in: .positive, "The largest magnitude.").named(also: "clip_value")]
  ) { (x, base) throws(TemperError) in
    try x.inner(base, gradient: clamp(x.gradient, -x.real("bound"), x.real("bound")))
  }

  /// g min(1, max_norm / |g|), |g| the norm of all gradients together; or, with auto_factor, that many times the mean
  /// norm of the steps so far in place of max_norm.
  static let clipByGlobalNorm = Method.around(
    "clip_by_global_norm", aliases: ["clip_by_norm"], "All gradients together scaled to a norm of at most max_norm.",
    Reference(
      "Pascanu, Mikolov and Bengio", 2013, "On the difficulty of training Recurrent Neural Networks",
      arXiv: "1211.5063"),
    [
      .real("max_norm", 1, in: .positive, "The largest norm."),
      .real("norm_type", 2, in: Interval(1, .infinity), "The p of the norm."),
      .optionalReal("auto_factor", in: .positive, "Clip at this times the mean norm so far, instead of max_norm."),
      .boolean("skip_non_finite", false, "Leave out steps whose gradient is not finite."),
    ]
  ) { (x, base) throws(TemperError) in
    let (bound, p, factor) = (x.real("max_norm"), x.real("norm_type"), x.optionalReal("auto_factor"))
    let length: @Sendable (StepNumbers) -> Double
    if p.isInfinite {
      // Of the largest element of each parameter the largest.
      let magnitudes = abs(x.gradient).reshaped([x.gradient.shape.count]).maximum()
      _ = x.gathered("largest", magnitudes) { (arrays) throws(TemperError) in try largestElement(arrays) }
      length = { $0["largest"] }
    } else {
      x.totals([("power", p == 2 ? squaredLength(x.gradient) : pow(abs(x.gradient), p).sumAll())])
      length = { p == 2 ? $0["power"].squareRoot() : pow($0["power"], 1 / p) }
    }
    let limit: @Sendable (StepNumbers) -> Double
    if let factor {
      x.scalar("mean_norm", initial: 0) {
        let norm = length($0)
        return norm.isFinite ? $0["mean_norm"] + (norm - $0["mean_norm"]) / Double($0.step) : $0["mean_norm"]
      }
      limit = { $0.step == 1 ? .infinity : factor * $0["mean_norm"] }
    } else {
      limit = { _ in bound }
    }
    let clipped = x.gradient * x.number("factor") { length($0) > limit($0) ? limit($0) / length($0) : 1 }
    guard x.boolean("skip_non_finite") else { return try x.inner(base, gradient: clipped) }
    return try x.inner(base, gradient: clipped) { length($0).isFinite }
  }

  static let clipByLayerNorm = Method.around(
    "clip_by_layer_norm", "Each gradient by itself scaled to a norm of at most max_norm.", nil,
    [.real("max_norm", 1, in: .positive, "The largest norm.")], isElementwise: false
  ) { (x, base) throws(TemperError) in
    let (length, bound) = (norm(x.gradient), x.real("max_norm"))
    return try x.inner(base, gradient: x.gradient * .select(length .> bound, bound / length, .constant(1)))
  }

  /// Elements of each gradient into [-t, t], t a quantile of their magnitudes; or the norm of all together at a quantile
  /// of the last norms, this one included (Seetharaman et al., 2020).
  static let clipByQuantile = Method.around(
    "clip_by_quantile", aliases: ["autoclip"], "Clips at a quantile of magnitudes, or of the norms so far.",
    Reference(
      "Seetharaman, Wichern, Pardo and Le Roux", 2020,
      "AutoClip: Adaptive Gradient Clipping for Source Separation Networks", arXiv: "2007.14469"),
    [
      .real("quantile", 0.9, in: .unit, "Which one."),
      .choice("of", ["elements", "norms"], "Of the elements of each gradient, or of the norms of all together."),
      .integer("window", 100, in: 1...10_000, "How many norms are remembered."),
    ], isElementwise: false
  ) { (x, base) throws(TemperError) in
    let (share, window) = (x.real("quantile"), x.integer("window"))
    if x.text("of") == "elements" {
      let bound = quantile(abs(x.gradient), share)
      return try x.inner(base, gradient: minimum(maximum(x.gradient, -bound), bound))
    }
    x.totals([("square", squaredLength(x.gradient))])
    for place in 0..<window {
      x.scalar("norm\(place)", initial: .nan) {
        ($0.step - 1) % window == place ? $0["square"].squareRoot() : $0["norm\(place)"]
      }
    }
    let factor = x.number("factor") { n in
      let norm = n["square"].squareRoot()
      let known = min(n.step - 1, window)
      var norms = [norm]
      for place in 0..<known where (n.step - 1) % window != place { norms.append(n["norm\(place)"]) }
      let bound = quantile(of: norms.sorted(), share)
      return norm > bound ? bound / norm : 1
    }
    return try x.inner(base, gradient: factor * x.gradient)
  }

  /// Each unit's gradient, all but the first axis of a parameter, clipped at clipping max(|w|, eps) of the unit.
  static let adaptiveGradientClipping = Method.around(
    "adaptive_gradient_clipping", aliases: ["agc"], "Clips each unit's gradient by the norm of its weights.",
    Reference(
      "Brock, De, Smith and Simonyan", 2021, "High-Performance Large-Scale Image Recognition Without Normalization",
      arXiv: "2102.06171"),
    [
      .real("clipping", 0.01, in: .positive, "The largest norm of a gradient over that of the weights."),
      .real("eps", 1e-3, in: .nonNegative, "The least norm that weights count with."),
    ], isElementwise: false
  ) { (x, base) throws(TemperError) in
    func length(_ x: Expression) -> Expression {
      x.shape.rank > 1 ? sqrt(square(x).sum(axes: Array(1..<x.shape.rank))) : norm(x)
    }
    let slope = length(x.gradient)
    let bound = x.real("clipping") * maximum(length(x.parameter), x.real("eps"))
    return try x.inner(base, gradient: x.gradient * .select(slope .> bound, bound / slope, .constant(1)))
  }
}

/// Between the neighbours in the sorted elements, as NumPy does.
func quantile(_ x: Expression, _ share: Double) -> Expression {
  let count = x.shape.count
  guard count > 0 else { return .constant(0) }
  let sorted = x.reshaped([count]).sorted()
  let place = share * Double(count - 1)
  let low = Int(place)
  let first = sorted.slice(low..<low + 1).reshaped([])
  let rest = place - Double(low)
  return rest == 0 ? first : first + rest * (sorted.slice(low + 1..<low + 2).reshaped([]) - first)
}

func quantile(of sorted: [Double], _ share: Double) -> Double {
  let place = share * Double(sorted.count - 1)
  let low = Int(place)
  return low + 1 < sorted.count ? sorted[low] + (place - Double(low)) * (sorted[low + 1] - sorted[low]) : sorted[low]
}
