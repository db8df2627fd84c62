import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Weights of the samples by how much a step on each would lower the loss of a few samples whose targets are right.
/// Ren et al., 2018, arXiv 1803.09050.
///
///     w_i = max(0, -d/d eps_i (trusted loss after a step on sum eps_i l_i)) at eps = 0, divided by their sum
final class LearningToReweight: RecordedProcedure {
  static let method = Method.procedure(
    "learning_to_reweight", area: "noisy-labels",
    summary: "Weighs samples by how much learning from each lowers the loss of a few trusted samples.",
    reference: Reference(
      "Ren et al.", 2018, "Learning to Reweight Examples for Robust Deep Learning", arXiv: "1803.09050"),
    inputs: Trusted.inputs, state: [SampleState("eps", [], "0: where the weights' slopes are taken.")],
    replaces: [.objective], LearningToReweight.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    try requireTargetsAlone(loss)
  }

  func prepare(_ training: Training) throws(TemperError) { try keepState(training) }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let losses = try step.loss(of: try step.forward()).values
    let eps = try step.rows("eps")
    let parameters = step.parameters()
    let tried = zip(parameters, try Differentiate.gradients(of: (eps * losses).sumAll(), withRespectTo: parameters))
      .map { $0 - $1 }
    let trusted = try step.trustedLoss(parameters: tried)
    let slope = try Differentiate.gradients(of: trusted, withRespectTo: [eps])[0]
    return losses.mean(over: maximum(-slope, 0).stopGradient)
  }
}
