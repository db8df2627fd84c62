import Glibc
import TemperCatalogue
import TemperGraph

/// The parameter is y, where gradients are taken; z moves with whole steps; x, their weighted average, is the result:
/// y = (1 - b) z + b x. Defazio et al., 2024.
extension Optimizers {
  static let scheduleFreeMethods = [scheduleFreeSGD, scheduleFreeAdamW]

  private static let reference = Reference(
    "Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky", 2024, "The Road Less Scheduled", arXiv: "2405.15682")

  private static let weighting: [Parameter] = [
    .integer("warmup_steps", 0, in: 0 ... .max, "Steps over which the learning rate rises along a line."),
    .real("r", 0, "The power of the step in the weights of the average."),
    .real("weight_lr_power", 2, in: .nonNegative, "The power of the learning rate in the weights of the average."),
  ]

  private static let share = Interval(0, 1, includesLower: false, includesUpper: false)

  static let scheduleFreeSGD = Method.optimizer(
    "schedule_free_sgd", aliases: ["sgd_schedule_free"], "Gradient descent whose average needs no schedule.", reference,
    [.learningRate(1), .real("momentum", 0.9, in: share, "The share of the average in y."), .weightDecay()] + weighting
      + [.maximize]
  ) { x in
    let (_, g) = x.decayed(x.slope, isDecoupled: false)
    return move(x, g, beta: x.real("momentum")) { _ in 1 }
  }

  static let scheduleFreeAdamW = Method.optimizer(
    "schedule_free_adamw", aliases: ["adamw_schedule_free", "schedule_free"],
    "AdamW whose average needs no schedule.", reference,
    [
      .learningRate(0.0025), .real("beta1", 0.9, in: share, "The share of the average in y."),
      .beta(2, 0.999, "How slowly the average of squares moves."), .eps(1e-8), .weightDecay(),
    ] + weighting + [.maximize]
  ) { x in
    let beta2 = x.real("beta2")
    let v = x.average("second_moment", of: square(x.slope), beta2)
    let g = x.slope / (sqrt(v) + x.real("eps")) + x.real("weight_decay") * x.parameter
    return move(x, g, beta: x.real("beta1")) { (1 - power(beta2, $0)).squareRoot() }
  }

  /// With c = weight / sum of weights: y <- (1 - c) y + c z + lr (b (1 - c) - 1) g; z <- z - lr g.
  private static func move(
    _ x: Update, _ g: Expression, beta: Double, _ correction: @escaping @Sendable (Int) -> Double
  ) -> Expression {
    let (warmup, r, lrPower) = (Double(x.integer("warmup_steps")), x.real("r"), x.real("weight_lr_power"))
    let rate: @Sendable (StepNumbers) -> Double = {
      $0.learningRate * correction($0.step) * (warmup > 0 ? min(1, Double($0.step) / warmup) : 1)
    }
    let largest: @Sendable (StepNumbers) -> Double = { max($0["largest_rate"], rate($0)) }
    let weight: @Sendable (StepNumbers) -> Double = { pow(Double($0.step), r) * pow(largest($0), lrPower) }
    let share: @Sendable (StepNumbers) -> Double = {
      let sum = $0["weight_sum"] + weight($0)
      return sum > 0 ? weight($0) / sum : 0
    }
    x.scalar("largest_rate", initial: 0, next: largest)
    x.scalar("weight_sum", initial: 0) { $0["weight_sum"] + weight($0) }
    let (y, z) = (x.parameter, x.stateFromParameter("z"))
    x.set("z", to: z - x.number("rate", rate) * g)
    x.evaluate(at: (y - (1 - beta) * z) / beta)
    let c = x.number("share", share)
    return y + c * (z - y) + x.number("step_size") { rate($0) * (beta * (1 - share($0)) - 1) } * g
  }
}
