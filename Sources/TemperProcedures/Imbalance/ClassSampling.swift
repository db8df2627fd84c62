import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Samples of an epoch drawn with replacement, class by class.
/// Kang et al., 2020, arXiv 1910.09217.
private let decoupling = Reference(
  "Kang et al.", 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition", arXiv: "1910.09217")

extension Training {
  /// As many draws as there are samples, with P(class k) = (1 - t) n_k^q / sum n^q + t / K.
  func drawByClass(_ ids: [Int], power q: Double, balance t: Double) -> [Int32] {
    let labels = Labels(ids)
    let powers = labels.sizes.map { power(Double($0), q) }
    let whole = powers.reduce(0, +)
    let shares = zip(powers, labels.sizes).map {
      ((1 - t) * $0 / whole + t / Double(labels.sizes.count)) / Double($1)
    }
    var random = random("class draws").stream(position.epoch)
    return random.indices(sampleCount, inProportionTo: labels.places.map { shares[$0] })
      .map(Int32.init(truncatingIfNeeded:))
  }
}

/// P(class k) in proportion to n_k^q.
final class ClassBalancedSampling: RecordedProcedure {
  static let method = Method.procedure(
    "class_balanced_sampling", area: "imbalance",
    summary: "Draws the samples of an epoch such that classes come alike, or nearly.",
    reference: decoupling,
    parameters: [.real("q", 0, in: .unit, "0: classes alike; 0.5: by square roots; 1: samples alike.")],
    replaces: [.order], ClassBalancedSampling.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func prepare(_ training: Training) throws(TemperError) { _ = try training.classIds(for: self) }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    training.drawByClass(try training.classIds(for: self), power: arguments.real("q"), balance: 0)
  }
}

/// P(class k) = (1 - t) n_k / N + t / K, t from 0 to 1 over the epochs.
final class ProgressivelyBalancedSampling: RecordedProcedure {
  static let method = Method.procedure(
    "progressively_balanced_sampling", area: "imbalance",
    summary: "Draws the samples of an epoch: at first all alike, in the end classes alike.",
    reference: decoupling,
    parameters: [.integer("ramp", 90, in: 2 ... .max, "The epoch from which classes come alike.")],
    replaces: [.order], ProgressivelyBalancedSampling.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func prepare(_ training: Training) throws(TemperError) { _ = try training.classIds(for: self) }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    let progress = min(Double(training.position.epoch - 1) / Double(arguments.integer("ramp") - 1), 1)
    return training.drawByClass(try training.classIds(for: self), power: 1, balance: progress)
  }
}

/// First the representation, from samples as they come; then the classifier alone, anew, from classes alike.
final class ClassifierRetraining: RecordedProcedure {
  static let method = Method.procedure(
    "classifier_retraining", aliases: ["crt"], area: "imbalance",
    summary: "Trains all layers, then the last one anew on classes drawn alike, the others held.",
    reference: decoupling,
    parameters: [.integer("representation_epochs", 90, in: 1 ... .max, "Epochs in which all layers learn.")],
    replaces: [.order], ClassifierRetraining.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireClasses(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    _ = try training.classIds(for: self)
    // At first the first parameters, from which the classifier begins again; then those that are held.
    try training.keep("held", training.networks[0].parameters.shape)
  }

  private func isRetraining(_ training: Training) -> Bool {
    training.position.epoch > arguments.integer("representation_epochs")
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    let (network, held) = (training.networks[0], try training.kept("held"))
    if training.position.steps == 0 { try held.assign(from: network.parameters) }
    guard training.position.epoch - 1 == arguments.integer("representation_epochs") else { return }
    for index in network.lastLayer {
      try network.part(index, of: network.parameters).assign(from: try network.part(index, of: held))
    }
    try held.assign(from: network.parameters)
    try training.forgetMoments()
  }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    if isRetraining(training) {
      return training.drawByClass(try training.classIds(for: self), power: 0, balance: 0)
    }
    return try PlainProcedure().order(training)
  }

  /// Whatever the optimizer moved besides the last layer goes back.
  func stepDidEnd(_ training: Training) throws(TemperError) {
    guard isRetraining(training) else { return }
    let (network, held) = (training.networks[0], try training.kept("held"))
    let last = network.lastLayer
    for index in network.model.trained.indices where !last.contains(index) {
      try network.part(index, of: network.parameters).assign(from: try network.part(index, of: held))
    }
  }
}

/// A second network learns; the first is that one with the norm of each class's weights brought together, w / |w|^tau, and
/// no biases in the last layer.
final class TauNormalization: RecordedProcedure {
  static let method = Method.procedure(
    "tau_normalization", aliases: ["tau_norm"], area: "imbalance",
    summary:
      "The model is what was trained, with the weights of each class in the last layer divided by a power of their norm.",
    reference: decoupling,
    parameters: [.real("tau", 1, in: .unit, "0 leaves the norms, 1 makes them all 1.")],
    replaces: [.objective], TauNormalization.self)

  let arguments: Arguments
  let networkCount = 2
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireClasses(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    let network = training.networks[0]
    guard network.lastLayer.contains(where: { network.model.trained[$0].shape.rank == 2 }) else {
      throw TemperError(.unsupported, "tau_normalization needs a model whose last layer has a matrix of weights.")
    }
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    if training.position.steps == 0 { training.copy(0, to: 1) }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    try step.loss(of: try step.forward(1), network: 1).reduced(.mean)
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    training.copy(1, to: 0)
    let network = training.networks[0]
    for index in network.lastLayer {
      let part = try network.part(index, of: network.parameters)
      guard part.shape.rank == 2 else {
        try part.fill(0)
        continue
      }
      var weights = try part.array(of: Double.self)
      let width = part.shape.last
      for start in stride(from: 0, to: weights.count, by: width) {
        let norm = weights[start..<start + width].reduce(0) { $0 + $1 * $1 }.squareRoot()
        for place in start..<start + width { weights[place] /= power(max(norm, 1e-12), arguments.real("tau")) }
      }
      try part.assign(from: try Tensor(weights, shape: part.shape))
    }
  }
}
