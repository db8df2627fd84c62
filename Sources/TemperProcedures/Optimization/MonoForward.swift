import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Dense layers that learn by losses of their own: no gradient crosses a layer. The output h of each hidden layer is
/// projected to logits h M^T, and the loss of these moves that layer and its M; the last hidden layer's M is the model's
/// own last layer. The other projections are kept with the run and moved by Adam.
final class MonoForward: RecordedProcedure {
  static let method = Method.procedure(
    "mono_forward", area: "optim", summary: "Trains each layer by a loss of its own, without backpropagation.",
    reference: Reference(
      title:
        "Beyond Backpropagation: Exploring Innovative Algorithms for Energy-Efficient Deep Neural Network Training",
      arXiv: "2509.19063"),
    parameters: [.real("mf_lr", 0.001, in: .nonNegative, "Adam's learning rate of the projections.")],
    replaces: [.objective], MonoForward.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  /// The trained parameters of each layer that has any: positions, and the layer's own in the description.
  private static func blocks(_ model: Model) -> [(layer: Int, positions: [Int])] {
    var blocks: [(layer: Int, positions: [Int])] = []
    for (position, variable) in model.trained.enumerated() {
      let layer = variable.name.split(separator: ".").first.flatMap { Int($0) } ?? -1
      if blocks.last?.layer == layer {
        blocks[blocks.count - 1].positions.append(position)
      } else {
        blocks.append((layer, [position]))
      }
    }
    return blocks
  }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    let blocks = MonoForward.blocks(model)
    let areDense = blocks.allSatisfy { block in
      let shapes = block.positions.map { model.trained[$0].shape }
      return shapes[0].rank == 2 && shapes.dropFirst().allSatisfy { $0.rank == 1 }
    }
    guard blocks.count > 1, areDense, model.buffers.isEmpty else {
      throw TemperError(
        .unsupported, "It trains dense layers: at least one hidden one, activations between them, and a last one.")
    }
  }

  /// Of the hidden layers but the last: their widths are what the next layer takes.
  private func projections(_ training: Training) -> [SideNetwork] {
    let model = training.networks[0].model
    let blocks = MonoForward.blocks(model)
    return blocks.indices.dropLast(2).map { index in
      let width = model.trained[blocks[index + 1].positions[0]].shape[1]
      return SideNetwork("projection\(index)", widths: [width, model.output.last])
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    for projection in projections(training) { try projection.prepare(training) }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let model = step.training.networks[0].model
    let blocks = MonoForward.blocks(model)
    let parameters = step.parameters()
    let output = try step.forward()
    let layers = try step.layerOutputs(of: output)
    let last = try step.loss(of: output).reduced(.mean).reshaped([])
    // The value is the last loss; the gradients are each block's own.
    var objective = last.stopGradient
    func learn(_ loss: Expression, _ positions: [Int]) throws(TemperError) {
      let own = positions.map { parameters[$0] }
      for (slope, parameter) in zip(try Differentiate.gradients(of: loss, withRespectTo: own), own) {
        objective = objective + (slope.stopGradient * (parameter - parameter.stopGradient)).sumAll().reshaped([])
      }
    }
    for (index, projection) in projections(step.training).enumerated() {
      guard let hidden = layers[blocks[index + 1].layer - 1] else {
        throw TemperError(.internalFault, "A hidden layer gave nothing.")
      }
      let weights = try projection.parameters(step)
      let logits = projection.outputs(hidden.reshaped([step.count, hidden.shape.count / step.count]), weights)
      let loss = try step.loss(of: logits).reduced(.mean).reshaped([])
      try learn(loss, blocks[index].positions)
      let slopes = try Differentiate.gradients(of: loss, withRespectTo: weights)
      try projection.moved(step, by: slopes, rate: arguments.real("mf_lr"))
    }
    try learn(last, blocks[blocks.count - 2].positions + blocks[blocks.count - 1].positions)
    return objective
  }
}
