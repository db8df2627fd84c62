import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// Changes of the gradient, or of the step, around any optimizer.
extension Optimizers {
  static let gradientWrappers = [
    accumulation, centralization, gradientNoise, cautious, orthograd,
  ]

  /// Every k calls: one step with the mean of the k gradients.
  static let accumulation = Method.around(
    "accumulation", aliases: ["gradient_accumulation"], "One step for several gradients, with their mean.", nil,
    [.integer("steps", 4, in: 1 ... .max, "Gradients for each step.")]
  ) { (x, base) throws(TemperError) in
    let count = x.integer("steps")
    let isDue: @Sendable (StepNumbers) -> Bool = { $0.step % count == 0 }
    let sum = x.state("gradient_sum") + x.gradient
    x.set("gradient_sum", to: .select(x.number("is_due") { isDue($0) ? 1 : 0 }, .constant(0), sum))
    return try x.inner(base, gradient: sum / Double(count), callsPerStep: count, due: isDue)
  }

  /// g less its mean over all axes but the first, for matrices and above.
  static let centralization = Method.around(
    "gradient_centralization", "Takes the mean out of each row of a gradient.",
    Reference(
      "Yong, Huang, Hua and Zhang", 2020,
      "Gradient Centralization: A New Optimization Technique for Deep Neural Networks", arXiv: "2004.01461"),
    [], isElementwise: false
  ) { (x, base) throws(TemperError) in
    let g = x.gradient
    guard g.shape.rank > 1 else { return try x.inner(base) }
    return try x.inner(base, gradient: g - g.mean(axes: Array(1..<g.shape.rank)))
  }

  /// g + N(0, eta / t^gamma).
  static let gradientNoise = Method.around(
    "gradient_noise", "Adds noise to the gradient that falls as steps go on.",
    Reference(
      "Neelakantan et al.", 2015, "Adding Gradient Noise Improves Learning for Very Deep Networks",
      arXiv: "1511.06807"),
    [
      .real("eta", 0.01, in: .nonNegative, "The variance of the noise at the first step."),
      .real("gamma", 0.55, in: .nonNegative, "How fast it falls."), .seed,
    ]
  ) { (x, base) throws(TemperError) in
    let (eta, gamma) = (x.real("eta"), x.real("gamma"))
    let deviation = x.number("deviation") { (eta / pow(Double($0.step), gamma)).squareRoot() }
    return try x.inner(base, gradient: x.gradient + deviation * x.normal(0))
  }

  /// Only coordinates whose step agrees with the gradient's sign are moved, and those by more:
  /// u <- u m / max(mean(m), 0.001) with m = (u g > 0). Decoupled weight decay is not masked.
  static let cautious = Method.around(
    "cautious", "Leaves out what would go against the present gradient.",
    Reference(
      "Liang, Chen, Liu and Liu", 2024, "Cautious Optimizers: Improving Training with One Line of Code",
      arXiv: "2411.16085"),
    [], base: "adamw", isElementwise: false
  ) { (x, base) throws(TemperError) in
    var (kept, changes): (Expression?, [(name: String, value: Value)]) = (nil, [])
    if base.properties.contains("decoupled_weight_decay"), case .real(let decay)? = x.arguments.values["weight_decay"] {
      kept = x.number("kept") { 1 - $0.learningRate * decay }
      changes = [("weight_decay", .real(0))]
    }
    let w = x.parameter
    let step = w - (try x.inner(base, changing: changes))
    let agrees = (step * x.gradient) .> 0
    return (kept.map { $0 * w } ?? w) - step * agrees / maximum(agrees.meanAll(), 1e-3)
  }

  /// g <- the part of g at right angles to w, made as long as g was.
  static let orthograd = Method.around(
    "orthograd_optimizer", "Leaves out the part of the gradient along the parameter.",
    Reference(
      "Prieto, Barsbey, Mediano and Birdal", 2025, "Grokking at the Edge of Numerical Stability", arXiv: "2501.04697"),
    [], isElementwise: false
  ) { (x, base) throws(TemperError) in
    let (w, g) = (x.parameter, x.gradient)
    let across = g - (w * g).sumAll() / ((w * w).sumAll() + 1e-30) * w
    return try x.inner(base, gradient: across * (norm(g) / (norm(across) + 1e-30)))
  }
}
