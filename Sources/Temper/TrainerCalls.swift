import CTemper
import TemperCatalogue
import TemperCore
import TemperNetworks
import TemperTraining

/// A trainer with the context whose threads run it.
final class ContextTrainer: Handled {
  static var kind: HandleKind { .trainer }
  let trainer: Trainer
  let context: Context
  /// A callback must not begin another fit of the trainer that called it.
  var isTraining = false

  init(_ trainer: Trainer, _ context: Context) { (self.trainer, self.context) = (trainer, context) }

  func checkIdle(_ argument: Int32) throws(TemperError) {
    if isTraining {
      throw TemperError(.wrongState, "The trainer is training: its callback cannot do this.", argument: argument)
    }
  }
}

private func trainer(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> ContextTrainer {
  unsafe try Handles.all.value(handle, argument: argument)
}

// MARK: - making

@implementation @c public func temper_trainer_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ modelHandle: OpaquePointer?, _ lossHandle: OpaquePointer?,
  _ optimizerHandle: OpaquePointer?, _ scheduleHandle: OpaquePointer?,
  _ options: UnsafePointer<temper_trainer_options>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let model = unsafe try model(modelHandle, 1)
    let loss = unsafe try Handles.all.value(lossHandle, as: LossInstance.self, argument: 2)
    let optimizer = unsafe try Handles.all.value(optimizerHandle, as: CalledOptimizer.self, argument: 3).optimizer
    let schedule =
      unsafe scheduleHandle == nil ? nil : try Handles.all.value(scheduleHandle, as: ScheduleInstance.self, argument: 4)
    var given = unsafe temper_trainer_options()
    if let options = unsafe options { unsafe given = unsafe try sized(options, given, "options", 5) }
    let (settings, workers) = unsafe try trainerOptions(given, model.context)
    let procedure: any Procedure =
      unsafe given.procedure == nil ? PlainProcedure() : try procedure(given.procedure, 5).make()
    return ContextTrainer(
      try Trainer(
        unsafe try models(model, given, procedure, seed: settings.seed),
        loss: try LossInstance(loss.method, loss.arguments, schedules: loss.schedules, workers: workers),
        optimizer: optimizer.method, optimizer.arguments, groups: Array(optimizer.groups.dropFirst()),
        schedule: schedule, procedure: procedure, options: settings, workers: workers),
      model.context)
  }
}

/// The model and those that the procedure trains beside it: the caller's, or as many of the same making.
private func models(
  _ first: ContextModel, _ options: temper_trainer_options, _ procedure: any Procedure, seed: UInt64
) throws(TemperError) -> [Model] {
  let peers = unsafe try list(options.peers, options.peer_count, "peers", 5, limit: 64) { handle throws(TemperError) in
    unsafe try model(handle, 5).model
  }
  var models = [first.model] + peers
  guard peers.isEmpty else { return models }
  while models.count < procedure.networkCount {
    models.append(
      try Model(
        first.model.description, input: first.model.input.shape, dtype: first.model.dtype,
        seed: Random(seed: seed).stream("network").stream(models.count).key, catalogue: first.context.catalogue))
  }
  return models
}

@implementation @c public func temper_trainer_network(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ index: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let handle = unsafe try trainer(handle, 1)
    guard index < UInt64(handle.trainer.networks.count) else {
      throw TemperError(
        .outOfRange, "The trainer has \(handle.trainer.networks.count) networks; index \(index) came.", argument: 2)
    }
    return ContextModel(handle.trainer.networks[Int(index)].model, handle.context)
  }
}

private func trainerOptions(
  _ options: temper_trainer_options, _ context: Context
) throws(TemperError) -> (settings: TrainerOptions, workers: Workers) {
  var settings = TrainerOptions()
  if unsafe options.batch_size != 0 { settings.batchSize = unsafe Int(options.batch_size) }
  settings.seed = unsafe context.seed(or: options.seed)
  settings.clipping = unsafe GradientClipping(
    value: options.clip_value == 0 ? nil : options.clip_value, norm: options.clip_norm == 0 ? nil : options.clip_norm)
  settings.dropsLast = unsafe try flag(options.drop_last, "drop_last", 5)
  settings.nonFinite = unsafe try flag(options.skip_non_finite, "skip_non_finite", 5) ? .skip : .fail
  settings.allowsNonFiniteData = unsafe try flag(options.allow_non_finite, "allow_non_finite", 5)
  return unsafe (settings, options.threads == 0 ? context.workers : try workers(options.threads, 5))
}

// MARK: - training

/// A set of samples that came from C.
private func dataset(
  _ pointer: UnsafePointer<temper_samples>?, _ what: String, _ argument: Int32
) throws(TemperError) -> Dataset {
  guard let samples = unsafe pointer?.pointee else {
    throw TemperError(.invalidArgument, "`\(what)` must not be NULL.", argument: argument)
  }
  let inputs = unsafe try named(samples.inputs, samples.input_count, "inputs of \(what)", argument)
  return unsafe Dataset(
    x: try tensor(samples.x, argument), y: samples.y == nil ? nil : try tensor(samples.y, argument),
    inputs: inputs.byName)
}

/// The training data of fit with x from a callback.
private func dataset(
  _ pointer: UnsafePointer<temper_samples>?, reading source: UnsafePointer<temper_source>?
) throws(TemperError) -> Dataset {
  guard let samples = unsafe pointer?.pointee, let source = unsafe source else {
    throw TemperError(.invalidArgument, "`data` must not be NULL.", argument: 1)
  }
  guard unsafe samples.x == nil else {
    throw TemperError(.invalidArgument, "x came twice, as a tensor and as a source.", argument: 1)
  }
  let inputs = unsafe try named(samples.inputs, samples.input_count, "inputs of data", 1)
  return unsafe try Dataset(
    source: try ForeignRows(try sized(source, temper_source(), "source", 2)),
    y: samples.y == nil ? nil : try tensor(samples.y, 1), inputs: inputs.byName)
}

@implementation @c public func temper_trainer_fit(
  _ handle: OpaquePointer?, _ data: UnsafePointer<temper_samples>?, _ options: UnsafePointer<temper_fit_options>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let handle = unsafe try trainer(handle, 0)
    try handle.checkIdle(0)
    var given = unsafe temper_fit_options()
    if let options = unsafe options { unsafe given = unsafe try sized(options, given, "options", 2) }
    let data =
      unsafe given.source == nil ? try dataset(data, "data", 1) : try dataset(data, reading: given.source)
    let settings = unsafe try FitSettings(given, handle.trainer)
    handle.isTraining = true
    defer { handle.isTraining = false }
    let history = try handle.trainer.fit(
      data, epochs: settings.epochs, validation: settings.validation, tests: settings.tests,
      monitoring: settings.monitoring, checkpoint: settings.checkpoint, callbacks: settings.callbacks)
    if history.ending == .cancelled {
      throw TemperError(
        .cancelled, "A callback stopped training after \(history.epochs.count) epochs; it can go on from there.")
    }
  }
}

/// What temper_fit_options say, checked.
private struct FitSettings {
  let epochs: Int
  let validation: Dataset?
  let tests: [(name: String, data: Dataset)]
  let monitoring: Monitoring?
  let checkpoint: CheckpointPolicy?
  let callbacks: Callbacks

  init(_ options: temper_fit_options, _ trainer: Trainer) throws(TemperError) {
    guard unsafe options.epochs >= 0 else {
      throw TemperError(.outOfRange, unsafe "`epochs` is 0 or more; \(options.epochs) came.", argument: 2)
    }
    guard unsafe options.reserved == 0 else { throw TemperError(.unsupported, "`reserved` must be 0.", argument: 2) }
    epochs = unsafe options.epochs == 0 ? trainer.history.epochs.count + 1 : Int(options.epochs)
    validation = unsafe options.validation == nil ? nil : try dataset(options.validation, "validation", 2)
    var tests: [(name: String, data: Dataset)] = []
    _ = unsafe try list(options.tests, options.test_count, "tests", 2, limit: 256) { samples throws(TemperError) in
      let name = unsafe try text(samples.name, "name of test set \(tests.count)", 2)
      unsafe tests.append(
        (
          name,
          try withUnsafePointer(to: samples) { pointer throws(TemperError) in
            unsafe try dataset(pointer, "test set \(name)", 2)
          }
        ))
    }
    self.tests = tests
    monitoring = unsafe try FitSettings.monitoring(options)
    if unsafe options.checkpoint_path == nil {
      checkpoint = nil
    } else {
      guard unsafe options.checkpoint_every >= 0 else {
        throw TemperError(.outOfRange, "`checkpoint_every` is 0 or more.", argument: 2)
      }
      checkpoint = unsafe CheckpointPolicy(
        path: try path(options.checkpoint_path, 2), everyEpochs: max(Int(options.checkpoint_every), 1))
    }
    let everyStep = unsafe try flag(options.every_step, "every_step", 2)
    if let function = unsafe options.progress {
      let progress = unsafe ForeignProgress(
        function: function, user: ForeignPointer(options.progress_user), trainer: trainer, epochs: epochs)
      callbacks = Callbacks(
        step: everyStep ? { report throws(TemperError) in try progress.step(report) } : nil,
        epoch: { record throws(TemperError) in try progress.epoch(record) })
    } else {
      callbacks = Callbacks()
    }
  }

  private static func monitoring(_ options: temper_fit_options) throws(TemperError) -> Monitoring? {
    let quantity: Quantity
    switch unsafe options.monitor {
    case TEMPER_MONITOR_NONE:
      guard unsafe options.patience == 0, unsafe options.restore_best == 0 else {
        throw TemperError(
          .invalidArgument, "`patience` and `restore_best` need something to look at: set `monitor`.", argument: 2)
      }
      return nil
    case TEMPER_MONITOR_TRAINING_LOSS: quantity = .trainingLoss
    case TEMPER_MONITOR_VALIDATION_LOSS: quantity = .validationLoss
    case TEMPER_MONITOR_VALIDATION_ACCURACY: quantity = .validationAccuracy
    default:
      throw TemperError(.invalidArgument, unsafe "\(options.monitor) is not a TEMPER_MONITOR_*.", argument: 2)
    }
    guard unsafe options.patience >= 0 else { throw TemperError(.outOfRange, "`patience` is 0 or more.", argument: 2) }
    return unsafe Monitoring(
      quantity, patience: options.patience == 0 ? nil : Int(options.patience),
      minimumDelta: options.minimum_delta, restoresBest: try flag(options.restore_best, "restore_best", 2))
  }
}

/// The caller's progress function, told what the trainer reports.
@safe private struct ForeignProgress {
  let function: temper_progress_function
  let user: ForeignPointer
  let trainer: Trainer
  let epochs: Int

  func step(_ report: StepReport) throws(TemperError) -> Verdict {
    var progress = unsafe temper_progress()
    unsafe progress.epoch = Int64(report.epoch)
    unsafe (progress.step, progress.steps) = (Int64(report.step), Int64(report.stepsPerEpoch))
    unsafe (progress.loss, progress.learning_rate) = (report.loss, report.learningRate)
    unsafe progress.validation = temper_measurement(loss: .nan, accuracy: .nan)
    return unsafe try tell(&progress)
  }

  func epoch(_ record: EpochRecord) throws(TemperError) -> Verdict {
    var progress = unsafe temper_progress()
    unsafe progress.is_epoch_end = 1
    unsafe progress.epoch = Int64(record.epoch)
    let steps = Int64(trainer.position.stepsPerEpoch)
    unsafe (progress.step, progress.steps) = (steps, steps)
    unsafe (progress.loss, progress.learning_rate, progress.seconds) = (
      record.trainingLoss, record.learningRate, record.seconds
    )
    unsafe progress.validation = record.validation?.foreign ?? temper_measurement(loss: .nan, accuracy: .nan)
    let tests = record.tests.map(\.measurement.foreign)
    unsafe progress.test_count = UInt64(tests.count)
    return unsafe try tests.withUnsafeBufferPointer { tests throws(TemperError) in
      unsafe progress.tests = tests.baseAddress
      return unsafe try tell(&progress)
    }
  }

  private func tell(_ progress: inout temper_progress) throws(TemperError) -> Verdict {
    unsafe progress.struct_size = unsafe UInt32(MemoryLayout<temper_progress>.size)
    unsafe progress.epochs = Int64(epochs)
    let answer = unsafe function(user.pointer, &progress)
    switch answer {
    case 0: return .goOn
    case 1: return .stop
    default:
      throw TemperError(
        .invalidArgument, "The progress callback returned \(answer); 0 goes on and 1 stops.", argument: 2)
    }
  }
}

extension Measurement {
  fileprivate var foreign: temper_measurement { temper_measurement(loss: loss, accuracy: accuracy ?? .nan) }
}

@implementation @c public func temper_trainer_evaluate(
  _ out: UnsafeMutablePointer<temper_measurement>?, _ handle: OpaquePointer?, _ data: UnsafePointer<temper_samples>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (out, handle) = unsafe (try required(out, "out", 0), try trainer(handle, 1))
    unsafe out.pointee = unsafe try handle.trainer.evaluate(try dataset(data, "data", 2)).foreign
  }
}

// MARK: - looking back, keeping, giving back

@implementation @c public func temper_trainer_get_info(
  _ out: UnsafeMutablePointer<temper_trainer_info>?, _ handle: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let trainer = unsafe try trainer(handle, 1).trainer
    let history = trainer.history
    var info = temper_trainer_info()
    info.ending =
      switch history.ending {
      case .finished: TEMPER_ENDING_FINISHED
      case .stoppedEarly: TEMPER_ENDING_STOPPED_EARLY
      case .cancelled: TEMPER_ENDING_CANCELLED
      }
    (info.epochs, info.best_epoch) = (Int64(history.epochs.count), Int64(history.bestEpoch))
    info.network_count = Int64(trainer.networks.count)
    unsafe try fill(out, "out", 0, info)
  }
}

@implementation @c public func temper_trainer_history(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    var columns: [(name: String, tensor: Tensor)] = []
    for column in unsafe try trainer(handle, 1).trainer.history.columns {
      columns.append((column.name, try Tensor(column.values)))
    }
    return try TensorMap(columns)
  }
}

@implementation @c public func temper_trainer_state(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    var copies: [(name: String, tensor: Tensor)] = []
    for (name, tensor) in unsafe try trainer(handle, 1).trainer.kept { copies.append((name, try tensor.copy())) }
    return try TensorMap(copies)
  }
}

@implementation @c public func temper_trainer_save(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in unsafe try trainer(handle, 0).trainer.save(try path(file, 1)) }
}

@implementation @c public func temper_trainer_resume(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let handle = unsafe try trainer(handle, 0)
    try handle.checkIdle(0)
    unsafe try handle.trainer.resume(try path(file, 1))
  }
}

@implementation @c public func temper_trainer_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, ContextTrainer.self)
}
