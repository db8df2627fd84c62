import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Training as a problem of feasibility: a loss of at most eps for every sample, by alternating steps on a Lagrangian with
/// one multiplier for each.
///
///     lam_i <- max(0, lam_i + dual_lr (loss_i - eps - dual_decay lam_i)), then a step on sum lam_i (loss_i - eps)
///
/// Without decay that is feasible learning; with it, the resilient form, whose slacks cost half of the decay's inverse
/// times their squares. "cserm" minimises the mean of max(0, loss_i - eps)^2 instead.
final class FeasibleLearning: RecordedProcedure {
  static let method = Method.procedure(
    "feasible_learning", area: "optim",
    summary: "Asks for a small enough loss of every sample instead of a small mean.",
    reference: Reference(title: "Feasible Learning", arXiv: "2501.14912"),
    parameters: [
      .real("dual_lr", 1e-4, in: .nonNegative, "The step of the multipliers."),
      .real("dual_decay", 1, in: .nonNegative, "How fast multipliers shrink; 0: no slack is allowed."),
      .real("dual_init", 0, in: .nonNegative, "Where multipliers begin."),
      .real(
        "target_prob", 0.6, in: Interval(0, 1, includesLower: false),
        "The probability p that each target is to reach: eps is -ln p."),
      .optionalReal("eps", "The bound on the loss of a sample itself, in place of target_prob."),
      .choice("form", ["lagrangian", "cserm"], "Multipliers, or squared violations."),
    ],
    state: [SampleState("multiplier", [], initialParameter: "dual_init", "How much the sample's loss counts.")],
    replaces: [.objective], FeasibleLearning.self)

  let arguments: Arguments
  private let bound: Double

  init(_ arguments: Arguments) {
    self.arguments = arguments
    bound = arguments.optionalReal("eps") ?? -logarithm(arguments.real("target_prob"))
  }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireValueBySample(loss) }

  func prepare(_ training: Training) throws(TemperError) {
    try keepState(training)
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let loss = try step.loss(of: try step.forward())
    let excess = (loss.values - bound) * (loss.counted ?? .constant(1))
    if arguments.text("form") == "cserm" { return square(relu(excess)).meanAll().reshaped([]) }
    let old = try step.rows("multiplier")
    let (rate, decay) = (arguments.real("dual_lr"), arguments.real("dual_decay"))
    let multiplier = maximum(old + rate * (excess.stopGradient - decay * old), 0).stopGradient
    try step.update("multiplier", to: multiplier)
    return (multiplier * excess).sumAll().reshaped([])
  }
}
