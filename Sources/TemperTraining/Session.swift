import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// What one call of `fit` makes ready: checked data, what is kept, plans.
final class Session {
  let training: Training
  let epochs: Int
  let validation: Evaluation?
  let tests: [(name: String, evaluation: Evaluation)]
  private let trainer: Trainer
  private var steps: [Step] = []

  init(
    _ trainer: Trainer, _ data: Dataset, epochs: Int, validation: Dataset?, tests: [(name: String, data: Dataset)]
  ) throws(TemperError) {
    (self.trainer, self.epochs) = (trainer, epochs)
    let samples = try Samples(
      data, role: "training data", model: trainer.networks[0].model, loss: trainer.loss,
      procedure: trainer.procedure, allowsNonFinite: trainer.options.allowsNonFiniteData,
      workers: trainer.workers)
    training = try Training(
      networks: trainer.networks, samples: samples, loss: trainer.loss, seed: trainer.options.seed,
      workers: trainer.workers, learningRate: trainer.learningRate(after:))
    if let validation {
      self.validation = try Evaluation(trainer, validation, role: "validation data")
    } else {
      self.validation = nil
    }
    var evaluations: [(name: String, evaluation: Evaluation)] = []
    for (name, data) in tests {
      evaluations.append((name, try Evaluation(trainer, data, role: "test data \"\(name)\"")))
    }
    self.tests = evaluations
    try prepare()
  }

  /// Declares what is kept and puts in what earlier calls or a checkpoint left.
  private func prepare() throws(TemperError) {
    try StepGraph(
      count: min(trainer.options.batchSize, training.sampleCount), training: training, loss: trainer.loss
    ).declareLossState()
    try trainer.procedure.prepare(training)
    if let order = trainer.run.order, let last = order.max(), Int(last) >= training.sampleCount {
      throw TemperError(
        .invalidArgument,
        "The epoch under way visits sample \(last), but x has \(training.sampleCount) samples; go on with the same data."
      )
    }
    let earlier = trainer.run.kept
    if !earlier.isEmpty {
      guard earlier.map(\.name) == training.kept.map(\.name) else {
        throw TemperError(.internalFault, "The procedure declares other arrays than in its last call.")
      }
      for (old, new) in zip(earlier, training.kept) {
        guard old.tensor.shape == new.tensor.shape else {
          throw TemperError(
            .invalidShape,
            "\"\(old.name)\" is kept with shape \(old.tensor.shape), and these data need \(new.tensor.shape): they do not fit; go on with the same samples."
          )
        }
        new.tensor.copyBytes(from: old.tensor)
      }
    }
    trainer.run.kept = training.kept.map { ($0.name, $0.tensor) }
  }

  var hasClasses: Bool { validation?.hasAccuracy ?? false }

  /// The samples of a new epoch, checked.
  func order(_ position: Position) throws(TemperError) -> [Int32] {
    training.position = position
    training.position.epochs = epochs
    try trainer.procedure.epochWillBegin(training)
    let order = try trainer.procedure.order(training)
    guard order.allSatisfy({ $0 >= 0 && Int($0) < training.sampleCount }) else {
      throw TemperError(.internalFault, "The procedure \(trainer.procedure.name) chose a sample that does not exist.")
    }
    return order
  }

  func stepCount(_ samples: Int) throws(TemperError) -> Int {
    let size = trainer.stepSize
    let count = trainer.options.dropsLast ? samples / size : (samples + size - 1) / size
    guard count > 0 else {
      throw TemperError(
        .invalidArgument,
        "An epoch of \(samples) samples has no batch of \(size); take a smaller batch size or keep the last batch.")
    }
    return count
  }

  /// The step for batches of `count` in the procedure's phase, made when first needed, and anew when a parameter of the loss that is built into it
  /// has moved.
  func step(_ count: Int) throws(TemperError) -> Step {
    let position = training.position
    let arguments = try trainer.loss.arguments(steps: position.steps, epochs: position.epoch - 1)
    steps.removeAll { step in step.builtIn.contains { step.arguments.values[$0] != arguments.values[$0] } }
    let phase = trainer.procedure.phase(position)
    for step in steps where step.count == count && step.phase == phase { return step }
    let graph = StepGraph(count: count, phase: phase, training: training, loss: trainer.loss, arguments: arguments)
    let step = try Step(
      graph, objective: graph.penalized(try trainer.procedure.objective(graph)), workers: trainer.workers)
    steps.append(step)
    return step
  }
}
