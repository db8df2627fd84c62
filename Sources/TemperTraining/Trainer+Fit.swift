import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// Where and how often a checkpoint is written.
package struct CheckpointPolicy: Sendable, Hashable {
  package var path: String
  package var everyEpochs: Int
  package init(path: String, everyEpochs: Int = 1) { (self.path, self.everyEpochs) = (path, everyEpochs) }
}

extension Trainer {
  /// Trains until `epochs` epochs are done in all: after a resume or a cancelled call it goes on where it stood.
  ///
  /// Validation and test sets are measured after every epoch. Errors and cancelling leave a trainer that can go on,
  /// be saved, or be thrown away; what was done stays in the model.
  @discardableResult
  package func fit(
    _ data: Dataset, epochs: Int, validation: Dataset? = nil, tests: [(name: String, data: Dataset)] = [],
    monitoring: Monitoring? = nil, checkpoint: CheckpointPolicy? = nil, callbacks: Callbacks = Callbacks()
  ) throws(TemperError) -> History {
    guard epochs >= 0 else { throw TemperError(.outOfRange, "epochs is 0 or more; \(epochs) came.") }
    if let checkpoint, checkpoint.everyEpochs < 1 {
      throw TemperError(.outOfRange, "A checkpoint is written every 1 or more epochs; \(checkpoint.everyEpochs) came.")
    }
    try History.validate(testNames: tests.map(\.name))
    // A call that failed before its first step binds the next one to nothing.
    if run.position.step == 0 { run.order = nil }
    if run.position.steps == 0 { run.kept = [] }
    let session = try Session(self, data, epochs: epochs, validation: validation, tests: tests)
    try begin(monitoring, hasValidation: validation != nil, hasClasses: session.hasClasses)

    run.history.ending = .finished
    while run.position.epoch <= epochs {
      if let patience = monitoring?.patience, run.monitor.stale >= patience {
        run.history.ending = .stoppedEarly
        break
      }
      guard try runEpoch(session, callbacks) else { return cancelled() }
      let record = try endEpoch(session, monitoring)
      if let checkpoint, record.epoch % checkpoint.everyEpochs == 0 || record.epoch == epochs {
        try save(checkpoint.path)
      }
      if let call = callbacks.epoch, try call(record) == .stop { return cancelled() }
    }
    if monitoring?.restoresBest == true, run.best != nil { try restoreBest() }
    return run.history
  }

  /// Mean loss and accuracy of the first network on a set of samples, where its optimizer wants it evaluated.
  package func evaluate(_ data: Dataset) throws(TemperError) -> Measurement {
    let evaluation = try Evaluation(self, data, role: "data")
    return try atEvaluationPoints { () throws(TemperError) in try evaluation.run() }
  }

  private func cancelled() -> History {
    run.history.ending = .cancelled
    return run.history
  }

  private func begin(_ monitoring: Monitoring?, hasValidation: Bool, hasClasses: Bool) throws(TemperError) {
    guard let monitoring else { return }
    try monitoring.validate()
    guard monitoring.quantity == .trainingLoss || hasValidation else {
      throw TemperError(
        .invalidArgument, "Monitoring the validation set needs one; pass it, or monitor the training loss.")
    }
    guard monitoring.quantity != .validationAccuracy || hasClasses else {
      throw TemperError(
        .invalidArgument, "There is no accuracy with the loss \(loss.method.name) and these targets; monitor a loss.")
    }
    if run.monitored != monitoring.quantity {
      (run.monitored, run.monitor, run.best) = (monitoring.quantity, Monitor(), nil)
      run.history.bestEpoch = 0
    }
  }

  /// The steps of the epoch that are still to do; false if a callback cancelled.
  private func runEpoch(_ session: Session, _ callbacks: Callbacks) throws(TemperError) -> Bool {
    let began = monotonicSeconds()
    defer { run.seconds += monotonicSeconds() - began }
    let order: [Int32]
    if let under = run.order {
      order = under
    } else {
      order = try counting { () throws(TemperError) in try session.order(run.position) }
    }
    run.order = order
    run.position.stepsPerEpoch = try session.stepCount(order.count)
    run.position.epochs = session.epochs
    while run.position.step < run.position.stepsPerEpoch {
      let loss = try counting { () throws(TemperError) in try step(session, order) }
      if let call = callbacks.step {
        let report = StepReport(
          epoch: run.position.epoch, step: run.position.step, epochs: session.epochs,
          stepsPerEpoch: run.position.stepsPerEpoch, loss: loss,
          learningRate: learningRate(after: run.position.steps - 1))
        if try call(report) == .stop { return false }
      }
    }
    return true
  }

  /// What a callback multiplies is not the run's.
  private func counting<T>(_ body: () throws(TemperError) -> T) throws(TemperError) -> T {
    let before = Multiplications.count
    defer { run.multiplications += Double(Multiplications.count &- before) }
    return try body()
  }

  /// Samples in a step.
  var stepSize: Int {
    let batches = procedure.batchesPerStep
    return min(options.batchSize, .max / batches) * batches
  }

  /// One step: gradients of a batch, clipping, update. Nothing is written if the loss or a gradient is not finite.
  private func step(_ session: Session, _ order: [Int32]) throws(TemperError) -> Double {
    let start = run.position.step * stepSize
    session.training.position = run.position
    let step = try session.step(min(stepSize, order.count - start))
    session.training.setClock()
    let loss = try step.run(order, from: start, run.position, workers)
    var isFinite = loss.isFinite
    for network in step.networks {
      network.norm = network.gradientNorm(workers)
      isFinite = isFinite && network.norm.isFinite
    }
    guard isFinite || options.nonFinite == .skip else {
      throw TemperError(
        .notFinite,
        "The \(loss.isFinite ? "gradient" : "loss") is not finite at epoch \(run.position.epoch), step \(run.position.step + 1); the step was not made. A smaller learning rate or clipping may help."
      )
    }
    if isFinite {
      try update(step, order, from: start)
      step.commit(order, from: start)
      run.lossSum += loss * Double(step.count)
      run.lossCount += step.count
    }
    run.position.step += 1
    run.position.steps += 1
    if isFinite {
      session.training.position = run.position
      try procedure.stepDidEnd(session.training)
    }
    return loss
  }

  /// Moves the networks. Rules that take gradients at other points run the same batch again, with the same random
  /// numbers; running statistics and what is kept follow its first run.
  private func update(_ step: Step, _ order: [Int32], from start: Int) throws(TemperError) {
    let steps = run.position.steps
    let isRepeated = step.networks.contains { $0.motion.needsClosure }
    if isRepeated { try step.keepPending() }
    for (index, network) in step.networks.enumerated() {
      func again() throws(TemperError) -> Double {
        let loss = try step.run(order, from: start, run.position, workers)
        let norm = network.gradientNorm(workers)
        guard loss.isFinite, norm.isFinite else {
          throw TemperError(
            .notFinite,
            "The loss or its gradient at a point beside the parameters is not finite; the step was not made.")
        }
        return options.clipping.scale(norm)
      }
      // The run for the network before it left other gradients.
      let scale = isRepeated && index > 0 ? try again() : options.clipping.scale(network.norm)
      switch network.motion {
      case .rule(let engine):
        try engine.run(
          step: steps + 1, rate: { learningRate(of: $0, after: steps) }, scale: scale,
          evaluate: isRepeated ? again : nil)
      case .search(let engine, let arrays):
        // A search may look where the loss is not finite; it turns back from there.
        _ = try engine.step(arrays, learningRate: learningRate(after: steps)) { () throws(TemperError) in
          let loss = try step.run(order, from: start, run.position, workers)
          return loss.isFinite ? loss : .infinity
        }
      }
      try network.model.constrain()
    }
    if isRepeated { step.restorePending() }
  }

  private func endEpoch(_ session: Session, _ monitoring: Monitoring?) throws(TemperError) -> EpochRecord {
    let (began, counted) = (monotonicSeconds(), Multiplications.count)
    session.training.position = run.position
    try procedure.epochDidEnd(session.training)
    var record = EpochRecord(
      epoch: run.position.epoch, trainingLoss: run.lossCount > 0 ? run.lossSum / Double(run.lossCount) : .nan,
      learningRate: learningRate(after: max(run.position.steps - 1, 0)), seconds: 0, multiplications: 0)
    // Measured, and kept as the best, is what the optimizer means to be used.
    try atEvaluationPoints { () throws(TemperError) in
      if let validation = session.validation { record.validation = try validation.run() }
      for (name, test) in session.tests { record.tests.append(TestRecord(name: name, measurement: try test.run())) }
      if let monitoring, let value = monitoring.quantity.value(record),
        run.monitor.observe(value, epoch: record.epoch, monitoring)
      {
        try keepBest()
        run.history.bestEpoch = record.epoch
      }
    }
    for schedule in adaptiveSchedules { try schedule.observe(record) }
    record.seconds = run.seconds + monotonicSeconds() - began
    record.multiplications = run.multiplications + Double(Multiplications.count &- counted)
    run.history.epochs.append(record)
    run.endEpoch()
    return record
  }
}
