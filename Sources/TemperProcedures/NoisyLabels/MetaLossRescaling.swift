import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// A small network gives each sample's loss a weight, from what the model itself makes of the sample, and learns to without
/// trusted samples: from the weighted loss of another batch after a step that is only tried.
/// STORM, Heinzler et al., 2024.
///
///     theta' = theta - rate grad mean a_i l_i over a batch;  J = sum a_j l_j(theta') / sum a_j over the next one
///
/// Weights are divided by their mean. A step takes two batches, and an epoch visits each sample twice: once, on
/// average, to learn from it and once to judge by it.
final class MetaLossRescaling: RecordedProcedure {
  static let method = Method.procedure(
    "storm_meta_loss_rescaling", aliases: ["storm_rescaling"], area: "noisy-labels",
    summary: "A small network learns, from the noisy data alone, which weight each sample's loss deserves.",
    reference: Reference(
      title: "Learning from Noisy Labels via Self-Taught On-the-Fly Meta Loss Rescaling"),
    parameters: [
      .integer("G", 5, in: 1...64, "Passes, each with dropout of its own, that a sample's features are taken over."),
      .integer("hidden", 32, in: 1...65536, "The width of the small network."),
      .real("outer_lr", 0.001, in: .nonNegative, "Its learning rate, by Adam."),
      .real("c_meta", 1, "The weight of what goes through the tried step."),
      .real("c_outer", 1, "The weight of what goes through the weights of the batch that judges."),
    ], state: [SampleState("class share", [], "The share of the sample's class in the data.")],
    replaces: [.order, .objective], MetaLossRescaling.self)

  let arguments: Arguments
  let batchesPerStep = 2
  // Checkpoints of versions that parted one batch do not fit.
  var settings: String { arguments.text + ", two batches a step" }
  private let side: SideNetwork
  private let width: Int

  init(_ arguments: Arguments) {
    self.arguments = arguments
    width = arguments.integer("G") > 1 ? 8 : 7
    side = SideNetwork("weights", widths: [width, arguments.integer("hidden"), 1], beginsFlat: true)
  }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    try requireTargetsAlone(loss)
  }

  func prepare(_ training: Training) throws(TemperError) {
    try side.prepare(training)
    try training.keep("mean", [1, width])
    try training.keep("square", [1, width], initial: 1)
    let ids = try training.classIds(for: self)
    var counts = [Double](repeating: 0, count: training.networks[0].model.output.last)
    for id in ids { counts[id] += 1 }
    try keepState(training)
    try training.kept("class share").assign(
      from: try Tensor(ids.map { counts[$0] / Double(ids.count) }, shape: [ids.count, 1]))
  }

  /// Two permutations, one after the other.
  func order(_ training: Training) throws(TemperError) -> [Int32] {
    var random = training.random("shuffle").stream(training.position.epoch)
    let first = random.permutation(training.sampleCount)
    return (first + random.permutation(training.sampleCount)).map(Int32.init(truncatingIfNeeded:))
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let half = max(step.count / 2, 1)
    guard step.count > 1 else { return try step.loss(of: try step.forward()).reduced(.mean) }
    let (x, y, share) = (try step.rows("x"), try step.rows("targets"), try step.rows("class share"))
    let (own, other) = (0..<half, half..<step.count)
    let parameters = step.parameters()

    let raw = try features(step, x.slice(own), y.slice(own), share.slice(own), nil)
    let (mean, square) = (try step.whole("mean"), try step.whole("square"))
    try step.update("mean", to: 0.9 * mean + 0.1 * raw.mean(axis: 0))
    try step.update("square", to: 0.9 * square + 0.1 * (raw * raw).mean(axis: 0))
    let head = try side.parameters(step)
    func weights(_ features: Expression) -> Expression {
      let deviation = sqrt(maximum(square - mean * mean, 1e-4))
      let a = sigmoid(side.outputs(((features - mean) / deviation).stopGradient, head))
      return a / a.meanAll()
    }
    let losses = try step.loss(of: try step.forward(0, x.slice(own)), inputs: ["targets": y.slice(own)]).values
    let a = weights(raw)
    let slopes = try Differentiate.gradients(of: (a * losses).meanAll(), withRespectTo: parameters)
    let tried = zip(parameters, slopes).map { $0 - step.learningRate * $1 }

    let judged = try features(
      step, x.slice(other), y.slice(other), share.slice(other), tried.map(\.stopGradient))
    let b = weights(judged)
    func outer(_ weights: Expression, _ parameters: [Expression]) throws(TemperError) -> Expression {
      let outputs = try step.forward(0, x.slice(other), parameters: parameters)
      return try step.loss(of: outputs, inputs: ["targets": y.slice(other)]).values.mean(over: weights)
    }
    let meta = try outer(b.stopGradient, tried)
    let direct = try outer(b, tried.map(\.stopGradient))
    let objective = arguments.real("c_meta") * meta + arguments.real("c_outer") * direct
    try side.moved(
      step, by: try Differentiate.gradients(of: objective, withRespectTo: head), rate: arguments.real("outer_lr"))
    return (a.stopGradient * losses).meanAll()
  }

  /// Loss and probability of the label, largest probability, entropy, margin, whether another class is chosen, each as the
  /// mean over the passes; with several passes the probability's deviation; the label's share of the data.
  private func features(
    _ step: StepGraph, _ x: Expression, _ y: Expression, _ share: Expression, _ parameters: [Expression]?
  ) throws(TemperError) -> Expression {
    var (passes, probabilities): ([Expression], [Expression]) = ([], [])
    for _ in 0..<arguments.integer("G") {
      let z = try step.forward(0, x, parameters: parameters ?? step.parameters()).stopGradient
      let logP = z.logSoftmax()
      let label = Expression.oneHot(y.reshaped([y.shape.count, 1]), columns: z.shape.last)
      let p = (label * exp(logP)).sum()
      let others = Expression.select(label, .constant(-1e30), z).maximum()
      let disagrees = z.argmax() .!= y.reshaped([y.shape.count, 1])
      passes.append(
        .concatenate(
          [
            -(label * logP).sum(), p, exp(logP.maximum()), -(exp(logP) * logP).sum(), (label * z).sum() - others,
            disagrees.reshaped(p.shape),
          ], axis: 1))
      probabilities.append(p)
    }
    let count = Double(passes.count)
    let mean = passes.dropFirst().reduce(passes[0]) { $0 + $1 } / count
    guard passes.count > 1 else { return .concatenate([mean, share], axis: 1) }
    let center = probabilities.dropFirst().reduce(probabilities[0]) { $0 + $1 } / count
    let spread = probabilities.map { ($0 - center) * ($0 - center) }
    let deviation = sqrt(spread.dropFirst().reduce(spread[0]) { $0 + $1 } / count + 1e-12)
    return .concatenate([mean, deviation, share], axis: 1)
  }
}
