import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Layers that learn by losses of their own: no gradient crosses a layer. "projections", Mono-Forward: the output h of each
/// hidden layer is projected to logits h M^T, and the loss of these moves that layer and its M; the last hidden layer's M
/// is the model's own last layer. The other projections are kept with the run and moved by Adam.
///
/// The page's other two need no procedure but a layer each: `forward_forward`, with `forward_forward_loss`, and
/// `cascaded_forward`, whose predictors learn by gradients; "ridge" fits these instead, to one-hot targets,
/// (H^T H + cafo_ridge) W = H^T Y with an offset, after the first epoch, which sees every sample once.
final class MonoForward: RecordedProcedure {
  static let method = Method.procedure(
    "mono_forward", area: "optim", summary: "Trains each layer by a loss of its own, without backpropagation.",
    reference: Reference(
      title:
        "Beyond Backpropagation: Exploring Innovative Algorithms for Energy-Efficient Deep Neural Network Training",
      arXiv: "2509.19063"),
    parameters: [
      .choice(
        "rule", ["projections", "ridge"], "Losses of projections, or predictors of frozen blocks by least squares."),
      .real("mf_lr", 0.001, in: .nonNegative, "Adam's learning rate of the projections."),
      .real("cafo_ridge", 0.01, in: .nonNegative, "Added to the squares of the features, for ridge."),
    ],
    replaces: [.objective], MonoForward.self)

  let arguments: Arguments
  private let isRidge: Bool

  init(_ arguments: Arguments) {
    self.arguments = arguments
    isRidge = arguments.text("rule") == "ridge"
  }

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
    if isRidge { return try checkPredictors(model) }
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
    if isRidge { return try prepareSums(training) }
    for projection in projections(training) { try projection.prepare(training) }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    if isRidge { return try gathered(step) }
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
      guard let hidden = layers["\(blocks[index + 1].layer - 1)"] else {
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

  // MARK: ridge

  /// "0.predictor2.weight" and "0.predictor2.bias" among the trained parameters.
  private static func predictor(_ index: Int, _ part: String) -> String { "0.predictor\(index).\(part)" }

  private func checkPredictors(_ model: Model) throws(TemperError) {
    let names = Set(model.trained.map(\.name))
    let wanted = (0..<max(names.count / 2, 1)).flatMap {
      [MonoForward.predictor($0, "weight"), MonoForward.predictor($0, "bias")]
    }
    guard names == Set(wanted) else {
      throw TemperError(
        .unsupported, "Ridge fits the predictors of a model that is one cascaded_forward layer with frozen blocks.")
    }
  }

  private func prepareSums(_ training: Training) throws(TemperError) {
    let model = training.networks[0].model
    for index in 0..<model.trained.count / 2 {
      guard let weight = model.variable(MonoForward.predictor(index, "weight")) else { continue }
      let (classes, width) = (weight.shape[0], weight.shape[1] + 1)
      try training.keep("gram\(index)", [width, width])
      try training.keep("cross\(index)", [width, classes])
    }
  }

  func phase(_ position: Position) -> Int { isRidge && position.epoch > 1 ? 1 : 0 }

  /// Sums over the samples. The predictors move by their loss meanwhile; what is gathered does not depend on them.
  private func gathered(_ step: StepGraph) throws(TemperError) -> Expression {
    let output = try step.forward()
    let loss = try step.loss(of: output).reduced(.mean)
    if step.phase == 1 { return loss }
    let layers = try step.layerOutputs(of: output)
    let targets = try step.targetProbabilities(output.shape.last)
    for index in 0..<step.training.networks[0].model.trained.count / 2 {
      guard let features = layers["0.block\(index)"] else {
        throw TemperError(.internalFault, "A block gave nothing.")
      }
      let seen = Expression.concatenate([features, .constant(1, [step.count, 1])], axis: 1)
      for (name, other) in [("gram", seen), ("cross", targets)] {
        let sum = try step.whole(name + "\(index)") + .matmul(seen, other, transposeA: true)
        try step.update(name + "\(index)", to: sum)
      }
    }
    return loss
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    guard isRidge else { return }
    let model = training.networks[0].model
    for index in 0..<model.trained.count / 2 {
      guard let weight = model.variable(MonoForward.predictor(index, "weight"))?.tensor,
        let bias = model.variable(MonoForward.predictor(index, "bias"))?.tensor
      else { continue }
      let (classes, width) = (weight.shape[0], weight.shape[1])
      let solution = RidgeRegression.solved(
        gram: try training.kept("gram\(index)").array(of: Double.self),
        cross: try training.kept("cross\(index)").array(of: Double.self), ridge: arguments.real("cafo_ridge"))
      guard let solution else {
        throw TemperError(
          .invalidArgument, "The features of block \(index) are linearly dependent: give a larger cafo_ridge.",
          origin: name)
      }
      let rows = (0..<classes).flatMap { label in (0..<width).map { solution[$0 * classes + label] } }
      try weight.assign(from: try Tensor(rows, shape: weight.shape))
      try bias.assign(from: try Tensor(Array(solution[(width * classes)...]), shape: bias.shape))
    }
  }
}
