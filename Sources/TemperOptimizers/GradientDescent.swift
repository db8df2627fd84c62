import Glibc
import TemperCatalogue
import TemperGraph

extension Optimizers {
  static let descentMethods = [stochasticGradientDescent, averagedGradientDescent, lion, rprop]

  /// g' = g + wd w; b <- mu b + (1 - dampening) g', at the first step b = g'; w <- w - lr d with d = b, or g' + mu b
  /// for Nesterov's form (Sutskever et al., 2013).
  static let stochasticGradientDescent = Method.optimizer(
    "sgd", "Gradient descent, with momentum if wanted.",
    Reference(
      "Sutskever, Martens, Dahl and Hinton", 2013,
      "On the importance of initialization and momentum in deep learning"),
    [
      .learningRate(0.01),
      .real("momentum", 0, in: .belowOne, "How much of the last direction is kept."),
      .real("dampening", 0, in: .unit, "How much of the gradient is left out of the direction."),
      .boolean("nesterov", false, "Look ahead along the direction."),
      .weightDecay(), .decoupled, .maximize,
    ]
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: x.boolean("decoupled_weight_decay"))
    if x.isZero("momentum") { return w - x.learningRate * g }
    let mu = x.moving("momentum")
    let dampening = x.real("dampening")
    let share = x.number("gradient_share") { $0.step == 1 ? 1 : 1 - dampening }
    let b = mu * x.state("momentum") + share * g
    x.set("momentum", to: b)
    return w - x.learningRate * (x.boolean("nesterov") ? g + mu * b : b)
  }

  /// w <- w (1 - lambda lr_t) - lr_t g; a <- a + mu_t (w - a), with lr_t = lr / (1 + lambda lr (t - 1))^alpha and
  /// mu_t = 1 / max(1, t - 1 - t0). Polyak and Juditsky, 1992.
  static let averagedGradientDescent = Method.optimizer(
    "asgd", aliases: ["averaged_sgd"], "Gradient descent whose average over the last steps is the result.",
    Reference("Polyak and Juditsky", 1992, "Acceleration of stochastic approximation by averaging"),
    [
      .learningRate(0.01),
      .real("lambd", 1e-4, in: .nonNegative, "How fast the step falls."),
      .real("alpha", 0.75, in: .nonNegative, "The power with which the step falls."),
      .real("t0", 1e6, in: .nonNegative, "The step after which the average is taken."),
      .weightDecay(), .maximize,
    ]
  ) { x in
    let (lambda, alpha, start) = (x.real("lambd"), x.real("alpha"), x.real("t0"))
    let (_, g) = x.decayed(x.slope, isDecoupled: false)
    let size: @Sendable (StepNumbers) -> Double = {
      $0.learningRate / pow(1 + lambda * $0.learningRate * Double($0.step - 1), alpha)
    }
    let kept = x.number("kept_share") { 1 - lambda * size($0) }
    let w = kept * x.parameter - x.number("step_size", size) * g
    let average = x.stateFromParameter("average")
    let share = x.number("average_share") { 1 / max(1, Double($0.step - 1) - start) }
    x.set("average", to: average + share * (w - average))
    x.evaluate(at: average)
    return w
  }

  /// u = sign(b1 m + (1 - b1) g); w <- w (1 - lr wd) - lr u; m <- b2 m + (1 - b2) g.
  static let lion = Method.optimizer(
    "lion", "Steps of one length in each coordinate, along the sign of an average of gradients.",
    Reference("Chen et al.", 2023, "Symbolic Discovery of Optimization Algorithms", arXiv: "2302.06675"),
    [
      .learningRate(1e-4),
      .beta(1, 0.9, "The share of the average in the direction."),
      .beta(2, 0.99, "How slowly the average moves."),
      .weightDecay(decoupled: true), .maximize,
    ], isDecoupled: true
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: true)
    let m = x.state("momentum")
    _ = x.average("momentum", of: g, "beta2")
    return w - x.learningRate * sign(x.moving("beta1") * m + x.complement(of: "beta1") * g)
  }

  /// Each coordinate's step grows by eta+ while its gradient keeps its sign and shrinks by eta- when that turns; then
  /// the coordinate also rests for one step. Riedmiller and Braun, 1993.
  static let rprop = Method.optimizer(
    "rprop", "Steps that depend on the signs of gradients only; for full batches.",
    Reference(
      "Riedmiller and Braun", 1993,
      "A direct adaptive method for faster backpropagation learning: the RPROP algorithm"),
    [
      .learningRate(0.01),
      .real("eta_minus", 0.5, in: Interval(0, 1, includesLower: false, includesUpper: false), "Shrinks a step."),
      .real("eta_plus", 1.2, in: Interval(1, .infinity, includesLower: false), "Lets a step grow."),
      .real("minimum_step", 1e-6, in: .nonNegative, "The smallest step."),
      .real("maximum_step", 50, in: .nonNegative, "The largest step."),
      .maximize,
    ]
  ) { x in
    let (g, last) = (x.slope, x.state("last_gradient"))
    let agreement = sign(g * last)
    let factor = Expression.select(
      agreement .> 0, .constant(x.real("eta_plus")),
      .select(agreement .< 0, .constant(x.real("eta_minus")), .constant(1)))
    // The first step has no length of its own yet: the learning rate is it.
    let isFirst = x.number("is_first") { $0.step == 1 ? 1 : 0 }
    let before = Expression.select(isFirst, x.learningRate, x.state("step_size"))
    let size = clamp(before * factor, x.real("minimum_step"), x.real("maximum_step"))
    let kept = Expression.select(agreement .< 0, .constant(0), g)
    x.set("step_size", to: size)
    x.set("last_gradient", to: kept)
    return x.parameter - sign(kept) * size
  }
}
