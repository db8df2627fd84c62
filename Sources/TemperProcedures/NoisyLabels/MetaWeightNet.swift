import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// A small network gives each sample's loss a weight, and learns to from the loss of a few samples whose targets are
/// right after a step that is only tried. Shu et al., 2019, arXiv 1902.07379.
final class MetaWeightNet: RecordedProcedure {
  static let method = Method.procedure(
    "meta_weight_net", area: "noisy-labels",
    summary: "A small network learns, from a few trusted samples, which weight a loss deserves.",
    reference: Reference(
      "Shu et al.", 2019, "Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting", arXiv: "1902.07379"),
    parameters: [
      .integer("hidden", 100, in: 1...10_000, "The width of the small network."),
      .real("meta_lr", 0.001, in: .nonNegative, "Its learning rate, by Adam."),
    ], inputs: Trusted.inputs, replaces: [.objective], MetaWeightNet.self)

  let arguments: Arguments
  private let side: SideNetwork
  init(_ arguments: Arguments) {
    self.arguments = arguments
    side = SideNetwork("weights", widths: [1, arguments.integer("hidden"), 1])
  }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    try requireTargetsAlone(loss)
  }

  func prepare(_ training: Training) throws(TemperError) { try side.prepare(training) }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let losses = try step.loss(of: try step.forward()).values
    func weights(_ side: [Expression]) -> Expression { sigmoid(self.side.outputs(losses.stopGradient, side)) }
    let old = try side.parameters(step)
    let parameters = step.parameters()
    let slopes = try Differentiate.gradients(of: (weights(old) * losses).meanAll(), withRespectTo: parameters)
    let tried = zip(parameters, slopes).map { $0 - step.learningRate * $1 }
    let trusted = try step.trustedLoss(parameters: tried)
    let new = try side.moved(
      step, by: try Differentiate.gradients(of: trusted, withRespectTo: old), rate: arguments.real("meta_lr"))
    return (weights(new).stopGradient * losses).meanAll()
  }
}
