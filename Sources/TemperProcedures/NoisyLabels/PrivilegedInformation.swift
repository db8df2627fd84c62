import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Learning with what is known of the labels' making and only while training (annotator, time, confidence): a head that
/// sees it moves the trunk, one that does not is the classifier and moves itself only. TRAM, Ortiz-Jimenez et al., 2023,
/// arXiv 2303.01806; with numbers drawn once for each sample beside it, by which labels can be memorised, TRAM++.
final class PrivilegedInformation: RecordedProcedure {
  static let method = Method.procedure(
    "tram_privileged", aliases: ["tram"], area: "noisy-labels",
    summary: "A head that sees how labels were made explains their noise away; the classifier learns beside it.",
    reference: Reference(
      "Ortiz-Jimenez et al.", 2023, "When does Privileged Information Explain Away Label Noise?", arXiv: "2303.01806"),
    parameters: [
      .integer("random_pi_dim", 8, in: 0...4096, "Numbers drawn for each sample; 0 is TRAM without ++."),
      .integer("pi_head_width", 64, in: 1...65536, "The width of the head that sees."),
      .real("pi_lr", 0.001, in: .nonNegative, "Its learning rate, by Adam."),
    ], inputs: [Input("privileged", [.init(["N", "P"])], "What is known of each label's making; in training only.")],
    state: [SampleState("drawn", ["random_pi_dim"], "Numbers by which its label can be memorised.")],
    replaces: [.objective], PrivilegedInformation.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    guard model.description.layers.count > 1 else {
      throw TemperError(.unsupported, "It needs a model with layers below its last one: the trunk.")
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    try keepState(training)
    let width = arguments.integer("random_pi_dim")
    if width > 0 {
      var random = training.random("privileged")
      let drawn = (0..<training.sampleCount * width).map { _ in random.normal() }
      try training.kept("drawn").assign(from: try Tensor(drawn, shape: [training.sampleCount, width]))
    }
    let step = StepGraph(count: 1, training: training, loss: training.loss)
    let seen = try self.seen(step, step.features(of: try step.forward()))
    try side(seen, training.networks[0].model.output.last).prepare(training)
  }

  private func side(_ seen: Expression, _ classes: Int) -> SideNetwork {
    SideNetwork("head", widths: [seen.shape.last, arguments.integer("pi_head_width"), classes])
  }

  private func seen(_ step: StepGraph, _ features: Expression) throws(TemperError) -> Expression {
    var parts = [features.reshaped([step.count, features.shape.count / step.count]), try step.rows("privileged")]
    if arguments.integer("random_pi_dim") > 0 { parts.append(try step.rows("drawn")) }
    return .concatenate(parts, axis: 1)
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let outputs = try step.forward()
    let seen = try seen(step, step.features(of: outputs))
    let side = side(seen, outputs.shape.last)
    let head = try side.parameters(step)
    let explained = try step.loss(of: side.outputs(seen, head)).reduced(.mean)
    try side.moved(
      step, by: try Differentiate.gradients(of: explained, withRespectTo: head), rate: arguments.real("pi_lr"))
    // The same outputs, through which nothing reaches the trunk.
    let last = step.training.networks[0].lastLayer
    let parameters = step.parameters().enumerated().map { last.contains($0) ? $1 : $1.stopGradient }
    let classifier = try step.loss(of: try step.forward(0, parameters: parameters)).reduced(.mean)
    return explained + classifier
  }
}
