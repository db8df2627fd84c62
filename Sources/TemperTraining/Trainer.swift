import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// Trains a model, or the networks of a procedure, with a loss and an optimizer. Used by one thread at a time.
///
/// The same seed, data and settings give the same bits, whatever the number of threads, and whether or not the run was
/// cancelled or resumed from a checkpoint in between.
package final class Trainer {
  package let networks: [Network]
  package let loss: LossInstance
  package let optimizer: Method
  package let optimizerArguments: Arguments
  /// Parameters of every network that follow other settings, by their positions among those that it trains.
  package let groups: [OptimizerInstance.Group]
  package let schedule: ScheduleInstance?
  package let procedure: any Procedure
  package let options: TrainerOptions
  let workers: Workers
  var run = Run()

  /// `models`: one for each network of the procedure, of one architecture's input and type. Their parameters are
  /// trained in place. Without a schedule the learning rate is the optimizer's own.
  package init(
    _ models: [Model], loss: LossInstance, optimizer: Method, _ optimizerArguments: Arguments,
    groups: [OptimizerInstance.Group] = [], schedule: ScheduleInstance? = nil,
    procedure: any Procedure = PlainProcedure(),
    options: TrainerOptions = TrainerOptions(), workers: Workers
  ) throws(TemperError) {
    try options.validate()
    guard models.count == procedure.networkCount, let first = models.first else {
      throw TemperError(
        .invalidArgument,
        "The procedure \(procedure.name) trains \(procedure.networkCount) networks; \(models.count) models came.")
    }
    for model in models {
      guard model.input == first.input, model.output == first.output, model.dtype == first.dtype else {
        throw TemperError(.invalidArgument, "The models of a trainer share input shape, output shape and type.")
      }
    }
    guard Set(models.map { ObjectIdentifier($0) }).count == models.count else {
      throw TemperError(.invalidArgument, "Each network of a trainer is a model of its own; one came twice.")
    }
    do throws(TemperError) { try procedure.check(first, loss) } catch { throw error.from(procedure.name) }
    let others = OptimizerInstance.Group(optimizerArguments)
    var networks: [Network] = []
    for model in models {
      networks.append(
        try Network(model, optimizer: optimizer, [others] + groups, clipping: options.clipping, workers: workers))
    }
    (self.networks, self.groups) = (networks, groups)
    (self.loss, self.optimizer, self.optimizerArguments) = (loss, optimizer, optimizerArguments)
    (self.schedule, self.procedure, self.options, self.workers) = (schedule, procedure, options, workers)
  }

  /// Epochs done so far, of all calls of `fit`.
  package var history: History { run.history }
  package var position: Position { run.position }

  /// What the loss and the procedure keep, as it is now.
  package var kept: [(name: String, tensor: Tensor)] { run.kept }

  /// At the step after `steps` others.
  func learningRate(after steps: Int) -> Double {
    if let schedule { return schedule.value(at: Double(steps)) }
    if case .real(let rate)? = optimizerArguments.values["learning_rate"] { return rate }
    return 0
  }

  /// Of a group of parameters; 0 is all that are in none.
  func learningRate(of group: Int, after steps: Int) -> Double {
    if group > 0 {
      if let schedule = groups[group - 1].schedule { return schedule.value(at: Double(steps)) }
      if groups[group - 1].hasOwnRate, case .real(let rate)? = groups[group - 1].arguments.values["learning_rate"] {
        return rate
      }
    }
    return learningRate(after: steps)
  }

  /// The schedules that follow measurements, the groups' own too.
  var adaptiveSchedules: [ScheduleInstance] {
    ([schedule] + groups.map(\.schedule)).compactMap { $0 }.filter(\.isAdaptive)
  }

  /// Parameters and buffers, network by network: what "best" means to keep.
  var weights: [Tensor] { networks.flatMap { [$0.parameters] + $0.model.kept.compactMap(\.tensor) } }

  func keepBest() throws(TemperError) {
    if run.best == nil {
      var copies: [Tensor] = []
      for tensor in weights { copies.append(try Tensor(zeros: tensor.shape, tensor.dtype)) }
      run.best = copies
    }
    for (copy, tensor) in zip(run.best ?? [], weights) { copy.copyBytes(from: tensor) }
  }

  /// Puts the parameters and buffers of the best epoch back.
  package func restoreBest() throws(TemperError) {
    guard let best = run.best else {
      throw TemperError(.wrongState, "No best epoch is known: train with a monitored quantity first.")
    }
    for (tensor, copy) in zip(weights, best) { tensor.copyBytes(from: copy) }
  }
}

extension ScheduleInstance {
  /// Takes in what an epoch has measured, under the names of the history; "loss", "accuracy" and "metric" are those of
  /// the validation set where there is one.
  func observe(_ record: EpochRecord) throws(TemperError) {
    let loss = record.validation?.loss ?? record.trainingLoss
    var values: [(name: String, value: Double)] = [
      ("training_loss", record.trainingLoss), ("loss", loss),
    ]
    if let validation = record.validation {
      values.append(("validation_loss", validation.loss))
      if let accuracy = validation.accuracy {
        values += [("validation_accuracy", accuracy), ("accuracy", accuracy)]
      }
    }
    try observe(values)
  }
}
