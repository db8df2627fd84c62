import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// The transition matrix from true classes to labels is learned with the network, kept as small in volume as the labels
/// allow. VolMinNet, Li et al., 2021, arXiv 2102.02400.
///
///     T = rows of I + sigmoid(W) off the diagonal, of sum 1;  loss of p T + lam log det T;  W moves by Adam
final class VolumeMinimization: RecordedProcedure {
  static let method = Method.procedure(
    "volume_minimization", aliases: ["volminnet"], area: "noisy-labels",
    summary: "Learns the transition matrix from true classes to labels together with the network.",
    reference: Reference(
      "Li et al.", 2021, "Provably End-to-end Label-noise Learning without Anchor Points", arXiv: "2102.02400"),
    parameters: [
      .real("lam", 1e-4, in: .nonNegative, "The weight of log det T."),
      .real("transition_lr", 0.01, in: .nonNegative, "The learning rate of W."),
      .real("init", -2, "The value that W begins with."),
    ], replaces: [.objective], VolumeMinimization.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireClasses(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    let classes = training.networks[0].model.output.last
    try KeptAdam("w", [classes, classes]).prepare(training, initial: arguments.real("init"))
    // As it is after the last step: for those who want to know.
    try training.keep("transition", [classes, classes])
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let logits = try step.forward()
    let classes = logits.shape.last
    let w = try step.whole("w")
    let diagonal = Expression.iota(w.shape, axis: 0) .== Expression.iota(w.shape, axis: 1)
    let raw = Expression.select(diagonal, .constant(1), sigmoid(w))
    let transition = raw / raw.sum()
    let noisy = Expression.matmul(logits.softmax(), transition)
    let objective =
      try step.loss(of: log(maximum(noisy, 1e-12))).reduced(.mean)
      + arguments.real("lam") * transition.logDeterminant()
    let slope = try Differentiate.gradients(of: objective, withRespectTo: [w])[0]
    try KeptAdam("w", [classes, classes]).move(step, by: slope, rate: arguments.real("transition_lr"))
    try step.update("transition", to: transition)
    return objective
  }
}
