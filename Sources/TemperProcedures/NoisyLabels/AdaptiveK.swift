import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Samples whose loss is above a moving threshold do not count.
/// Dedeoglu et al., 2022, arXiv 2203.14165.
///
///     m <- b1 m + (1 - b1) mu,  v <- b2 v + (1 - b2) mu^2,  mu the batch's mean loss;  keep l_i <= m / (sqrt(v) + 1e-8)
///
/// The threshold is a number without a unit, sqrt(10) at the first step and near 1 later, which is compared with losses.
final class AdaptiveK: RecordedProcedure {
  static let method = Method.procedure(
    "adaptive_k", area: "noisy-labels",
    summary: "Learns from the samples whose loss is below a threshold that follows the mean loss.",
    reference: Reference(
      "Dedeoglu et al.", 2022,
      "A Robust Optimization Method for Label Noisy Datasets Based on Adaptive Threshold: Adaptive-k",
      arXiv: "2203.14165"),
    parameters: [
      .real("beta1", 0.9, in: .belowOne, "How slowly the mean loss is followed."),
      .real("beta2", 0.999, in: .belowOne, "How slowly its square is."),
      .integer("warmup_epochs", 30, in: 0 ... .max, "Epochs of plain training before; few on small data."),
    ], replaces: [.objective], AdaptiveK.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireValueBySample(loss) }

  func prepare(_ training: Training) throws(TemperError) {
    try training.keep("m")
    try training.keep("v")
  }

  func phase(_ position: Position) -> Int { position.epoch > arguments.integer("warmup_epochs") ? 1 : 0 }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let loss = try step.loss(of: try step.forward())
    let mean = loss.reduced(.mean)
    guard step.phase == 1 else { return mean }
    let (b1, b2) = (arguments.real("beta1"), arguments.real("beta2"))
    let m = b1 * (try step.whole("m")) + (1 - b1) * mean.stopGradient
    let v = b2 * (try step.whole("v")) + (1 - b2) * square(mean.stopGradient)
    try step.update("m", to: m)
    try step.update("v", to: v)
    let chosen = loss.values .<= (m / (sqrt(v) + 1e-8)).stopGradient
    return loss.values.mean(over: (loss.counted.map { chosen .& $0 } ?? chosen).stopGradient)
  }
}
