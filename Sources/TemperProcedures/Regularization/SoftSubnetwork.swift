import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Few-shot class-incremental learning with a soft mask over the weights: the major ones, those of the largest learned
/// scores, are 1 and never change again after the base session; the others are drawn from U(0, 1), in every step of the
/// base session anew, and only they move later.
///
/// `session` says which session a sample belongs to, 0 the base. Session 0 has base_epochs, each later one session_epochs,
/// and after each there is one epoch in which nothing moves and the means of the new classes' normalised features are
/// taken: the prototypes. They become the rows of the last layer, so that a prediction is the nearest prototype by cosine.
/// A later session's loss is the cross-entropy of softmax(-(1 - cos(f, o_c)) / tau) over the classes known so far.
final class SoftSubnetwork: RecordedProcedure {
  static let method = Method.procedure(
    "soft_subnetwork_fscil", area: "regularize",
    summary: "Learns new classes from few samples by the minor weights of a soft mask, and keeps the old ones.",
    reference: Reference(
      "Kang et al.", 2023, "On the Soft-Subnetwork for Few-shot Class Incremental Learning", arXiv: "2209.07529"),
    parameters: [
      .real("major_ratio", 0.9, in: .unit, "The share of each matrix that is major."),
      .boolean("hard", false, "Minor weights are masked to 0 instead."),
      .integer("base_epochs", 10, in: 1...1_000_000, "Of session 0."),
      .integer("session_epochs", 15, in: 0...1_000_000, "Of each later session."),
      .real("score_lr", 0.1, in: .nonNegative, "Of the scores, by plain gradient descent."),
      .real("tau", 0.1, in: .positive, "The temperature of the distances."),
      .integer("tuned", 1, in: 1...1024, "Of the hidden matrices, how many of the last ones move in later sessions."),
    ],
    inputs: [Input("session", [.init(["N"])], "The session of each sample, from 0.")],
    replaces: [.order, .objective], SoftSubnetwork.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  private enum Stage: Int { case base, collecting, session }

  /// Which session an epoch belongs to, and what it is there for.
  private func stage(_ epoch: Int) -> (session: Int, stage: Stage) {
    let base = arguments.integer("base_epochs")
    if epoch <= base { return (0, .base) }
    if epoch == base + 1 { return (0, .collecting) }
    let (each, past) = (arguments.integer("session_epochs") + 1, epoch - base - 2)
    return (1 + past / each, past % each == each - 1 ? .collecting : .session)
  }

  /// The hidden matrices, and the last one, among the trained parameters.
  private static func matrices(_ model: Model) -> [Int] {
    model.trained.indices.filter { model.trained[$0].shape.rank > 1 }
  }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireCrossEntropy(model, loss)
    let matrices = SoftSubnetwork.matrices(model)
    guard matrices.count > 1, let last = matrices.last, model.trained[last].shape.rank == 2,
      model.trained[last].shape[0] == model.output.last, model.buffers.isEmpty
    else {
      throw TemperError(
        .unsupported, "It takes hidden layers with weights, without running statistics, and a dense last layer.")
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    let model = training.networks[0].model
    let matrices = SoftSubnetwork.matrices(model)
    for (index, position) in matrices.dropLast().enumerated() {
      let shape = model.trained[position].shape
      var random = training.random("scores").stream(index)
      let bound = (6 / Double(shape.sizes.dropFirst().reduce(1, *))).squareRoot()
      let scores = (0..<shape.count).map { _ in bound * (2 * random.uniform() - 1) }
      try training.keep("score\(index)", shape).assign(from: try Tensor(scores, shape: shape))
      try training.keep("mask\(index)", shape, initial: 1)
    }
    let last = model.trained[matrices[matrices.count - 1]].shape
    try training.keep("sums", last)
    try training.keep("prototypes", last)
    try training.keep("known", [last[0], 1])
    try training.keep("anchor", training.networks[0].parameters.shape)
  }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    guard let sessions = training.samples.rows["session"] else {
      throw TemperError(.internalFault, "There is no session.")
    }
    let wanted = Double(stage(training.position.epoch).session)
    let all = try sessions.tensor.array(of: Double.self)
    let own = all.indices.filter { all[$0] == wanted }
    guard !own.isEmpty else {
      throw TemperError(
        .invalidArgument, "Epoch \(training.position.epoch) is of session \(Int(wanted)), which has no samples.")
    }
    var random = training.random("shuffle").stream(training.position.epoch)
    return random.permutation(own.count).map { Int32(truncatingIfNeeded: own[$0]) }
  }

  func phase(_ position: Position) -> Int { stage(position.epoch).stage.rawValue }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    switch Stage(rawValue: step.phase) ?? .base {
    case .base: return try baseObjective(step)
    case .collecting:
      let output = try step.forward()
      let (features, labels) = (try normalised(step, output), try labels(step))
      let sums = try step.whole("sums") + Expression.matmul(labels, features, transposeA: true)
      try step.update("sums", to: sums)
      return try step.loss(of: output).reduced(.mean)
    case .session: return try sessionObjective(step)
    }
  }

  /// Cross-entropy of the masked network over weights and scores; the mask's gradient goes straight to the scores.
  private func baseObjective(_ step: StepGraph) throws(TemperError) -> Expression {
    let model = step.training.networks[0].model
    var parameters = step.parameters()
    var scores: [Expression] = []
    for (index, position) in SoftSubnetwork.matrices(model).dropLast().enumerated() {
      let score = try step.whole("score\(index)")
      let count = score.shape.count
      let major = Double(count) - (arguments.real("major_ratio") * Double(count)).rounded()
      let rank = abs(score).reshaped([1, count]).sortOrder().sortOrder().reshaped(score.shape)
      let minor = arguments.boolean("hard") ? Expression.zeros(score.shape) : step.uniform(score.shape)
      let mask = Expression.select(rank .>= major, .constant(1), minor).stopGradient
      try step.update("mask\(index)", to: mask)
      parameters[position] = parameters[position] * (mask + (score - score.stopGradient))
      scores.append(score)
    }
    let loss = try step.loss(of: try step.forward(parameters: parameters)).reduced(.mean)
    for (index, slope) in try Differentiate.gradients(of: loss, withRespectTo: scores).enumerated() {
      try step.update("score\(index)", to: scores[index] - arguments.real("score_lr") * slope)
    }
    return loss
  }

  private func sessionObjective(_ step: StepGraph) throws(TemperError) -> Expression {
    let model = step.training.networks[0].model
    let hidden = Array(SoftSubnetwork.matrices(model).dropLast())
    // A weight is theta m, and theta moves by the gradient times m: the weight by the gradient times m^2.
    var parameters = step.parameters().map(\.stopGradient)
    for (index, position) in hidden.enumerated() where index >= hidden.count - arguments.integer("tuned") {
      let mask = try step.whole("mask\(index)")
      let share = Expression.select(mask .< 1, square(mask), .constant(0))
      let own = step.parameters()[position]
      parameters[position] = own.stopGradient + share * (own - own.stopGradient)
    }
    let output = try step.forward(parameters: parameters)
    let (features, labels) = (try normalised(step, output), try labels(step))
    let counts = labels.sum(axis: 0).reshaped([labels.shape[1], 1])
    let means = Expression.matmul(labels, features, transposeA: true) / maximum(counts, 1)
    let known = try step.whole("known")
    let centres = unit(Expression.select(known, try step.whole("prototypes"), means))
    let cosines = Expression.matmul(features, centres, transposeB: true)
    let isThere = (known .| (counts .> 0)).reshaped([1, labels.shape[1]])
    let logits = Expression.select(isThere, (cosines - 1) / arguments.real("tau"), .constant(-1e9))
    return -((labels * logits.logSoftmax()).sum().meanAll())
  }

  private func normalised(_ step: StepGraph, _ output: Expression) throws(TemperError) -> Expression {
    let features = try step.features(of: output)
    return unit(features.reshaped([step.count, features.shape.count / step.count]))
  }

  private func unit(_ rows: Expression) -> Expression { rows / sqrt(square(rows).sum() + 1e-24) }

  private func labels(_ step: StepGraph) throws(TemperError) -> Expression {
    try step.targetProbabilities(step.training.networks[0].model.output.last)
  }

  /// What may not move is put back: all but the tuned matrices, and their major weights.
  func stepDidEnd(_ training: Training) throws(TemperError) {
    let stage = stage(training.position.epoch).stage
    if stage == .base { return }
    let network = training.networks[0]
    let before = try training.kept("anchor").array(of: Double.self)
    let after = try network.parameters.array(of: Double.self)
    var kept = before
    if stage == .session {
      let hidden = Array(SoftSubnetwork.matrices(network.model).dropLast())
      for (index, position) in hidden.enumerated() where index >= hidden.count - arguments.integer("tuned") {
        guard let tensor = network.model.trained[position].tensor else { continue }
        let start = (tensor.byteOffset - network.parameters.byteOffset) / tensor.dtype.byteCount
        let mask = try training.kept("mask\(index)").array(of: Double.self)
        for place in mask.indices where mask[place] < 1 { kept[start + place] = after[start + place] }
      }
    }
    try network.parameters.assign(from: try Tensor(kept, shape: network.parameters.shape))
    if stage == .session { try training.kept("anchor").assign(from: network.parameters) }
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    let network = training.networks[0]
    switch stage(training.position.epoch).stage {
    case .session: return
    case .base:
      guard training.position.epoch == arguments.integer("base_epochs") else { return }
      // The mask stays as it was drawn last, and becomes part of the weights.
      for (index, position) in SoftSubnetwork.matrices(network.model).dropLast().enumerated() {
        guard let tensor = network.model.trained[position].tensor else { continue }
        let mask = try training.kept("mask\(index)").array(of: Double.self)
        let weights = try tensor.array(of: Double.self)
        try tensor.assign(from: try Tensor(zip(weights, mask).map { $0 * $1 }, shape: tensor.shape))
      }
    case .collecting: try takePrototypes(training)
    }
    try training.kept("anchor").assign(from: network.parameters)
  }

  /// New classes' prototypes, into the last layer too.
  private func takePrototypes(_ training: Training) throws(TemperError) {
    let model = training.networks[0].model
    let sums = try training.kept("sums")
    let (classes, width) = (sums.shape[0], sums.shape[1])
    let found = try sums.array(of: Double.self)
    var prototypes = try training.kept("prototypes").array(of: Double.self)
    var known = try training.kept("known").array(of: Double.self)
    for label in 0..<classes {
      let row = label * width..<(label + 1) * width
      let length = found[row].reduce(0) { $0 + $1 * $1 }.squareRoot()
      guard length > 0, known[label] == 0 else { continue }
      known[label] = 1
      for place in row { prototypes[place] = found[place] / length }
    }
    try training.kept("prototypes").assign(from: try Tensor(prototypes, shape: sums.shape))
    try training.kept("known").assign(from: try Tensor(known, shape: [classes, 1]))
    try sums.fill(0)
    let last = SoftSubnetwork.matrices(model).last ?? 0
    try model.trained[last].tensor?.assign(from: try Tensor(prototypes, shape: sums.shape))
    guard last + 1 < model.trained.count, let bias = model.trained[last + 1].tensor else { return }
    try bias.assign(from: try Tensor(known.map { $0 == 0 ? -1e3 : 0 }, shape: bias.shape))
  }
}
