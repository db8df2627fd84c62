import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// Methods for gradients with heavy-tailed noise, and for losses that are not smooth.
extension Optimizers {
  static let robustMethods = [
    clippedDelayedAdaGrad, clippedSimilarTriangles, medianGradientDescent, onlineToNonconvex, subgradientRecovery,
  ]

  /// min(1, bound / norm)
  private static func clip(_ square: Double, _ bound: Double) -> Double {
    let norm = square.squareRoot()
    return norm > bound ? bound / norm : 1
  }

  /// c = g min(1, clip / |g|); w <- w - lr c / b with b as it was before this gradient where delayed;
  /// b <- sqrt(b^2 + eta |c|^2). By coordinate, or as Adam: w <- w - lr m / (sqrt(v) + eps) with v from the last c.
  static let clippedDelayedAdaGrad = Method.optimizer(
    "clip_radagrad_delayed", "AdaGrad on clipped gradients, whose divisor is independent of the present one.",
    Reference(
      title: "Gradient Clipping Improves AdaGrad when the Noise Is Heavy-Tailed", arXiv: "2406.04443"),
    [
      .learningRate(0.01),
      .real("clip", 1, in: .positive, "The norm at which gradients are clipped, all together."),
      .real("eta", 1, in: .nonNegative, "The weight of a new square."),
      .real("b0", 1, in: .positive, "Where the divisor begins."),
      .boolean("delayed", true, "Divide by what was known before this gradient."),
      .choice("form", ["norm", "coordinate", "adam"], "One divisor, one for each coordinate, or Adam's averages."),
    ] + Parameter.betas() + [
      .real("adam_v0", 1e-5, in: .nonNegative, "Where Adam's average of squares begins."), .eps(1e-6),
    ]
  ) { x in
    let (bound, eta, first, isDelayed) = (x.real("clip"), x.real("eta"), x.real("b0"), x.boolean("delayed"))
    x.totals([("square", squaredLength(x.gradient))])
    let factor: @Sendable (StepNumbers) -> Double = { clip($0["square"], bound) }
    let g = x.number("factor", factor) * x.gradient
    switch x.text("form") {
    case "norm":
      let sum: @Sendable (StepNumbers) -> Double = {
        $0["square_sum"] + eta * factor($0) * factor($0) * $0["square"]
      }
      x.scalar("square_sum", initial: first * first, next: sum)
      return x.parameter - x.number("step_size") {
        $0.learningRate / (isDelayed ? $0["square_sum"] : sum($0)).squareRoot()
      } * g
    case "coordinate":
      let old = x.state("square_sum", initial: first * first)
      let new = old + eta * square(g)
      x.set("square_sum", to: new)
      return x.parameter - x.learningRate * g / (sqrt(isDelayed ? old : new) + x.real("eps"))
    default:
      let m = x.average("first_moment", of: g, "beta1")
      let squares = isDelayed ? square(x.state("last_clipped")) : square(g)
      if isDelayed { x.set("last_clipped", to: g) }
      let v = x.average("second_moment", of: eta * squares, "beta2", initial: x.real("adam_v0"))
      return x.parameter - x.learningRate * m / (sqrt(v) + x.real("eps"))
    }
  }

  /// Similar triangles with clipped gradients: alpha = (k + 1) / (2 a L) at step k, A the sum of all alpha;
  /// x = (A y + alpha z) / (A + alpha) is the parameter, where the gradient is taken; z <- z - alpha clip(g, B / alpha);
  /// y <- (A y + alpha z) / (A + alpha) is the result. Forms sgda, x <- x - lr clip(g), and seg, whose second gradient is
  /// at the point that the first leads to, are for games.
  static let clippedSimilarTriangles = Method.optimizer(
    "clipped_sstm", "An accelerated method with clipped gradients, for noise without a variance.",
    Reference(
      "Sadiev et al.", 2023,
      "High-Probability Bounds for Stochastic Optimization and Variational Inequalities: the Case of Unbounded Variance",
      arXiv: "2302.00999"),
    [
      .choice("form", ["sstm", "seg", "sgda"], "Similar triangles, extragradient, or descent and ascent."),
      .real("a", 1, in: .positive, "Steps are shorter by this factor."),
      .real("L", 1, in: .positive, "The smoothness: the largest curvature."),
      .real("B", 0.05, in: .positive, "The longest way of one step; some hundredths of the distance to the solution."),
      .real("ratio_max", 1, in: .unit, "The largest share of the average in the next point."),
      .choice(
        "clip", ["global", "layer", "coordinate"], "What is clipped: all together, each parameter, each element."),
    ], isElementwise: false
  ) { x in
    let (a, smoothness, reach, most) = (x.real("a"), x.real("L"), x.real("B"), x.real("ratio_max"))
    func clipped(_ name: String, _ g: Expression, _ bound: @escaping @Sendable (StepNumbers) -> Double) -> Expression {
      switch x.text("clip") {
      case "global":
        x.totals([(name, squaredLength(g))])
        return x.number(name + "_factor") { clip($0[name], bound($0)) } * g
      case "layer":
        let (bound, length) = (x.number(name + "_bound", bound), norm(g))
        return Expression.select(length .> bound, bound / length, .constant(1)) * g
      default:
        let bound = x.number(name + "_bound", bound)
        return minimum(maximum(g, -bound), bound)
      }
    }
    guard x.text("form") == "sstm" else {
      let length = 1 / (4 * a * smoothness)
      let bound: @Sendable (StepNumbers) -> Double = { _ in reach / length }
      let there = x.parameter - length * clipped("square", x.gradient, bound)
      guard x.text("form") == "seg" else { return there }
      return x.parameter - length * clipped("second_square", x.gradient("ahead", at: there), bound)
    }
    let weight: @Sendable (Int) -> Double = { Double($0 + 1) / (2 * a * smoothness) }
    /// A after k steps.
    let sum: @Sendable (Int) -> Double = { Double($0) * Double($0 + 3) / (4 * a * smoothness) }
    let ratio: @Sendable (Int) -> Double = { min(sum($0 - 1) / sum($0), most) }
    let (y, z) = (x.stateFromParameter("y"), x.stateFromParameter("z"))
    let newZ = z - x.number("weight") { weight($0.step) } * clipped("square", x.gradient) { reach / weight($0.step) }
    let kept = x.number("kept") { ratio($0.step) }
    let newY = kept * y + (1 - kept) * newZ
    x.set("y", to: newY)
    x.set("z", to: newZ)
    x.evaluate(at: y)
    let next = x.number("next_kept") { ratio($0.step + 1) }
    return next * newY + (1 - next) * newZ
  }

  /// m <- argmin over m of phi(m - g) + |m - m_old|^2 / (2 tau), w <- w - lr m. With d = g - m: phi the norm moves m by
  /// min(1, tau / |d|) d, the sum of magnitudes by clip(d, -tau, tau), half the square by tau / (1 + tau) d, and Huber's
  /// function of the norm by min(tau / (1 + tau), tau mu / |d|) d.
  static let medianGradientDescent = Method.optimizer(
    "median_gradient_descent", "Gradient descent along a running median of gradients.",
    Reference(title: "SGD with Clipping is Secretly Estimating the Median Gradient", arXiv: "2402.12828"),
    [
      .learningRate(0.01),
      .real("tau", 1, in: .positive, "How far one gradient may move the median."),
      .choice("phi", ["l2", "l1", "l2_squared", "huber"], "Geometric median, median by coordinate, mean, or between."),
      .real("mu", 1, in: .positive, "Where Huber's function becomes linear."),
      .boolean("memory", true, "Keep the median; without it gradients are only clipped."),
      .weightDecay(decoupled: true), .maximize,
    ], isDecoupled: true
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: true)
    let (tau, mu) = (x.real("tau"), x.real("mu"))
    let m = x.boolean("memory") ? x.state("median") : .constant(0, g.shape)
    let d = g - m
    // 1 where tau is infinite.
    let pull = tau.isFinite ? tau / (1 + tau) : 1
    let move: Expression
    switch x.text("phi") {
    case "l1": move = clamp(d, -tau, tau)
    case "l2_squared": move = pull * d
    case let phi:
      x.totals([("square", square(d).sumAll())])
      let isHuber = phi == "huber"
      move =
        x.number("share") {
          let norm = $0["square"].squareRoot()
          let (most, bound) = isHuber ? (pull, tau * mu) : (1, tau)
          return norm * most > bound ? bound / norm : most
        } * d
    }
    if x.boolean("memory") { x.set("median", to: m + move) }
    return w - x.learningRate * (m + move)
  }

  /// An online learner chooses the increments: x <- x + D, the gradient is taken at a random point of the way,
  /// w = x + s D, and D <- b D - eta g, put back into a ball of radius `D`; every T steps D begins at 0 again. The result
  /// is the mean of the points since then.
  static let onlineToNonconvex = Method.optimizer(
    "online_to_nonconvex", "Gradient descent for losses that are neither smooth nor convex, by online learning.",
    Reference(
      "Cutkosky, Mehta and Orabona", 2023,
      "Optimal Stochastic Non-smooth Non-convex Optimization through Online-to-Non-convex Conversion",
      arXiv: "2302.03775"),
    [
      .real("D", or: ["auto"], in: .positive, "The longest increment; auto: delta / T."),
      .integer("T", 50, in: 1 ... .max, "Steps of an epoch."),
      .real("eta", or: ["auto"], in: .positive, "The learner's step; auto: D / (G sqrt(T))."),
      .real("G", 1, in: .positive, "The size of gradients, for eta."),
      .real("delta", 0.1, in: .positive, "How far apart points may lie whose gradients are averaged."),
      .real("beta", 1, in: .unit, "How much of the increment is kept."),
      .boolean("per_epoch_reset", true, "Begin each epoch with no increment."),
      .choice("scaling", ["random", "half", "one"], "Where on the way the gradient is taken."),
      .boolean("optimistic", false, "Expect the last gradient again."),
      .seed,
    ]
  ) { x in
    let (period, delta, isReset) = (x.integer("T"), x.real("delta"), x.boolean("per_epoch_reset"))
    let radius = x.optionalReal("D") ?? delta / Double(period)
    let eta = x.optionalReal("eta") ?? radius / (x.real("G") * Double(period).squareRoot())
    let random = Random(seed: UInt64(bitPattern: Int64(x.integer("seed"))), stream: "scaling")
    let scaling = x.text("scaling")
    let (start, increment) = (x.stateFromParameter("anchor"), x.state("increment"))
    let anchor = start + increment
    var g = x.gradient
    if x.boolean("optimistic") {
      let last = x.state("last_gradient")
      x.set("last_gradient", to: g)
      g = 2 * g - last
    }
    let moved = x.real("beta") * increment - eta * g
    x.totals([("square", square(moved).sumAll())])
    let begins = x.number("kept") { isReset && $0.step % period == 0 ? 0 : clip($0["square"], radius) }
    let next = begins * moved
    x.set("anchor", to: anchor)
    x.set("increment", to: next)
    let mean = x.state("mean")
    let share = x.number("mean_share") { 1 / Double(isReset ? ($0.step - 1) % period + 1 : $0.step) }
    x.set("mean", to: mean + share * (x.parameter - mean))
    x.evaluate(at: mean)
    let place = x.number("place") { n in
      guard scaling == "random" else { return scaling == "half" ? 0.5 : 1 }
      var numbers = random.stream(n.step)
      return numbers.uniform()
    }
    return anchor + place * next
  }

  /// U <- U - eta0 rho^t G for a factor U that began small. Normalised, the step is in units of the gradient's size for
  /// this U: eta0 rho^t |U| / |G|, which a factor of the measurements does not change.
  static let subgradientRecovery = Method.optimizer(
    "subgm_low_rank_recovery", aliases: ["subgm_matrix_recovery"],
    "Subgradient descent with steps that fall by a factor, for low-rank matrices behind outliers.",
    Reference(
      "Ma and Fattahi", 2022,
      "Global Convergence of Sub-gradient Method for Robust Matrix Recovery: Small Initialization, Noisy Measurements, and Over-parameterization",
      arXiv: "2202.08788"),
    [
      .real("learning_rate", 0.25, in: .nonNegative, "The first step.").named(also: "lr", "eta0"),
      .real("rho", 0.99, in: .unit, "The factor from step to step."),
      .choice("step", ["geometric", "normalised"], "As it is, or in units of the gradient's size."),
    ], isElementwise: false
  ) { x in
    let rho = x.real("rho")
    let size = x.number("step_size") { $0.learningRate * power(rho, $0.step - 1) }
    if x.text("step") == "geometric" { return x.parameter - size * x.gradient }
    let length = norm(x.gradient)
    return x.parameter - Expression.select(length .> 0, size * norm(x.parameter) / length, .constant(0)) * x.gradient
  }
}
