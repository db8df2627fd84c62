import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// More than the labels of an imbalanced set: samples without labels, and images turned. Yang and Xu, 2020,
/// arXiv 2006.07529.
///
///     self: the network learns first how images are turned, then gets a new last layer
///     semi: it learns from labels, says what the samples without are, and learns anew from L(labelled) + w L(the others)
///
/// Samples without a label have the loss's `ignore_index` as target.
final class SemiSelf: RecordedProcedure {
  static let method = Method.procedure(
    "imbalanced_semi_self", area: "imbalance",
    summary: "Learns from samples without labels by its own first guesses, and first how images are turned.",
    reference: Reference(
      "Yang and Xu", 2020, "Rethinking the Value of Labels for Improving Class-Imbalanced Learning",
      arXiv: "2006.07529"),
    parameters: [
      .real("w", 1, in: .nonNegative, "The weight of samples whose label is a guess."),
      .integer("base_epochs", 100, in: 1 ... .max, "Epochs on labels alone, before the guess."),
      .integer("pretrain_epochs", 0, in: 0 ... .max, "Epochs of telling rotations before those; 0: none."),
      .integer("head_hidden", 64, in: 1...65536, "The width of the head that tells rotations."),
      .real("head_lr", 0.001, in: .nonNegative, "The learning rate of that head, by Adam."),
    ], state: [SampleState("guessed", ["C"], "The class that a sample without a label is taken for; 0 for others.")],
    replaces: [.objective], SemiSelf.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  private var pretraining: Int { arguments.integer("pretrain_epochs") }
  /// The last epoch on labels alone.
  private var base: Int {
    let (sum, isTooLarge) = pretraining.addingReportingOverflow(arguments.integer("base_epochs"))
    return isTooLarge ? .max : sum
  }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    guard case .integer? = loss.arguments.values["ignore_index"] else {
      throw TemperError(
        .unsupported,
        "Samples without a label have the loss's ignore_index as target, and \(loss.method.name) has none.")
    }
    try requireProbabilities(loss)
    if pretraining > 0, model.input.kind != .real || RotationConsistency.side(of: model.input.shape) == nil {
      throw TemperError(
        .unsupported,
        "It turns square images, (…, S, S) or flat (S * S); the model takes samples of shape \(model.input.shape).")
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    _ = try training.classIds(for: self)
    try keepState(training)
    // The first parameters; after telling rotations, with those of the other layers from there.
    try training.keep("first", training.networks[0].parameters.shape)
    if pretraining > 0 {
      let step = StepGraph(count: 1, training: training, loss: training.loss)
      try head(step.features(of: try step.forward())).prepare(training)
    }
  }

  private func head(_ features: Expression) -> SideNetwork {
    let width = features.shape.count / features.shape[0]
    return SideNetwork("rotations", widths: [width, arguments.integer("head_hidden"), 4])
  }

  func phase(_ position: Position) -> Int {
    position.epoch <= pretraining ? 0 : position.epoch <= base ? 1 : 2
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    if training.position.steps == 0 { try training.kept("first").assign(from: training.networks[0].parameters) }
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    let (network, first) = (training.networks[0], try training.kept("first"))
    if training.position.epoch == pretraining {
      let last = network.lastLayer
      for index in network.model.trained.indices where !last.contains(index) {
        try network.part(index, of: first).assign(from: try network.part(index, of: network.parameters))
      }
    } else if training.position.epoch == base {
      let classes = network.model.output.last
      let (ids, chosen) = (try training.classIds(for: self), try training.chosenClasses())
      var guessed = [Double](repeating: 0, count: ids.count * classes)
      for (sample, id) in ids.enumerated() where !(0..<classes).contains(id) {
        guessed[sample * classes + chosen[sample]] = 1
      }
      try training.kept("guessed").assign(from: try Tensor(guessed, shape: [ids.count, classes]))
    } else {
      return
    }
    try network.parameters.assign(from: first)
    try training.forgetMoments()
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let logits = try step.forward()
    switch step.phase {
    case 0: return try rotations(step, logits)
    case 1: return try step.loss(of: logits).reduced(.mean)
    default:
      let guessed = try step.rows("guessed")
      let isGuessed = (guessed.sum() .> 0.5).stopGradient
      let own = Expression.select(isGuessed, .constant(0), try step.targetProbabilities(logits.shape.last))
      let values = try step.loss(of: logits, replacing: ["targets": guessed + own]).values
      return values.mean(over: 1 - isGuessed) + arguments.real("w") * values.mean(over: isGuessed)
    }
  }

  /// The mean over quarter turns of the cross-entropy of telling them.
  private func rotations(_ step: StepGraph, _ logits: Expression) throws(TemperError) -> Expression {
    let x = try step.rows("x")
    let side = head(try step.features(of: logits))
    let parameters = try side.parameters(step)
    var sum = Expression.constant(0)
    for quarter in 0..<4 {
      let outputs = quarter == 0 ? logits : try step.forward(0, RotationConsistency.turn(x, quarter))
      let features = try step.features(of: outputs)
      let flat = features.reshaped([step.count, features.shape.count / step.count])
      sum = sum - side.outputs(flat, parameters).logSoftmax().slice(quarter..<quarter + 1, axis: 1).meanAll() / 4
    }
    try side.moved(
      step, by: try Differentiate.gradients(of: sum, withRespectTo: parameters), rate: arguments.real("head_lr"))
    return sum
  }
}
