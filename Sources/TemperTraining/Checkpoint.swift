import TemperCatalogue
import TemperCore
import TemperNetworks

/// A run in one safetensors file, written whole or not at all: parameters, buffers, optimizer state, what is kept by
/// sample, where the run stands, and its history. Random numbers are a function of seed and position, so that nothing
/// of them needs to be stored.
extension Trainer {
  private static let format = "temper checkpoint 1"

  /// Writes a checkpoint, between steps.
  package func save(_ path: String) throws(TemperError) {
    var tensors = weightTensors + optimizerTensors + run.kept.map { ("kept.\($0.name)", $0.tensor) }
    for (named, copy) in zip(weightTensors, run.best ?? []) { tensors.append(("best.\(named.name)", copy)) }
    tensors.append(("run.progress", try Tensor(run.progress)))
    for column in run.history.columns { tensors.append(("history.\(column.name)", try Tensor(column.values))) }
    if let order = run.order { tensors.append(("run.order", try Tensor(order))) }
    for (index, network) in networks.enumerated() {
      let scalars = network.motion.scalars
      if !scalars.isEmpty { tensors.append(("optimizer\(index).scalars", try Tensor(scalars))) }
      tensors += network.motion.searchState.map { ("optimizer\(index).search.\($0.name)", $0.tensor) }
    }
    for (index, schedule) in adaptiveSchedules.enumerated() {
      tensors.append((Trainer.stateName(schedule: index), try Tensor(schedule.state)))
    }
    var metadata = Dictionary(uniqueKeysWithValues: settings.map { ($0.name, $0.text) })
    metadata["format"] = Trainer.format
    try Safetensors(metadata: metadata, tensors: tensors).write(to: path)
  }

  /// Takes over a checkpoint of a trainer with the same settings. What `fit` then makes of the same data has the bits
  /// of a run that was never interrupted. Nothing changes if the file does not fit.
  package func resume(_ path: String) throws(TemperError) {
    let file = try Safetensors(reading: path)
    do throws(TemperError) { try take(file) } catch { throw error.from(path) }
  }

  private func take(_ file: Safetensors) throws(TemperError) {
    guard file.metadata["format"] == Trainer.format else {
      throw TemperError(.malformedFile, "This file is no checkpoint of a trainer that this version can read.")
    }
    for setting in settings {
      guard let text = file.metadata[setting.name], text == setting.text else {
        throw TemperError(
          .invalidArgument,
          "The checkpoint does not fit this trainer: its \(setting.name) is \(file.metadata[setting.name] ?? "unknown"), the trainer's is \(setting.text)."
        )
      }
    }
    var left = Dictionary(file.tensors.map { ($0.name, $0.tensor) }) { $1 }
    func next(_ name: String, like tensor: Tensor) throws(TemperError) -> Tensor {
      guard let found = left.removeValue(forKey: name), found.shape == tensor.shape, found.dtype == tensor.dtype else {
        throw TemperError(
          .malformedFile,
          "\"\(name)\" must be \(tensor.dtype.name) of shape \(tensor.shape) in a checkpoint of this trainer.")
      }
      return found
    }
    func numbers<T: Element & ExpressibleByIntegerLiteral>(_ name: String, _ type: T.Type) throws(TemperError) -> [T]? {
      guard let tensor = left.removeValue(forKey: name) else { return nil }
      guard tensor.shape.rank == 1, tensor.dtype == T.dtype else {
        throw TemperError(.malformedFile, "\"\(name)\" must be one row of \(T.dtype.name).")
      }
      return try tensor.array(of: type)
    }

    var copies: [(from: Tensor, to: Tensor)] = []
    for (name, tensor) in weightTensors + optimizerTensors { copies.append((try next(name, like: tensor), tensor)) }
    var resumed = try Run(progress: try numbers("run.progress", Double.self) ?? [])
    var columns: [(name: String, values: [Double])] = []
    for (name, _) in file.tensors where name.hasPrefix("history.") {
      columns.append((String(name.dropFirst("history.".count)), try numbers(name, Double.self) ?? []))
    }
    guard let history = History(columns: columns), history.epochs.count == resumed.position.epoch - 1 else {
      throw TemperError(.malformedFile, "The checkpoint's history is incomplete.")
    }
    resumed.history = history
    resumed.history.bestEpoch = resumed.monitor.bestEpoch
    resumed.order = try numbers("run.order", Int32.self)
    guard resumed.order?.allSatisfy({ $0 >= 0 }) ?? (resumed.position.step == 0) else {
      throw TemperError(.malformedFile, "The order of the epoch under way is missing or holds negative sample ids.")
    }
    if resumed.monitor.bestEpoch > 0 {
      var best: [Tensor] = []
      for (name, tensor) in weightTensors { best.append(try next("best.\(name)", like: tensor).copy()) }
      resumed.best = best
    }
    var scalars: [[Double]] = []
    var searches: [[(name: String, tensor: Tensor)]] = []
    for (index, network) in networks.enumerated() {
      let values = try numbers("optimizer\(index).scalars", Double.self) ?? []
      guard values.count == network.motion.scalars.count else {
        throw TemperError(.malformedFile, "The checkpoint lacks numbers that the optimizer keeps.")
      }
      scalars.append(values)
      let prefix = "optimizer\(index).search."
      let search = file.tensors.filter { $0.name.hasPrefix(prefix) }
      for (name, _) in search { left[name] = nil }
      searches.append(search.map { (String($0.name.dropFirst(prefix.count)), $0.tensor) })
    }
    var observed: [[Double]] = []
    for index in adaptiveSchedules.indices {
      observed.append(try numbers(Trainer.stateName(schedule: index), Double.self) ?? [])
    }
    // In the order of declaration, which the file keeps for tensors of one type.
    for (name, tensor) in file.tensors where name.hasPrefix("kept.") && left.removeValue(forKey: name) != nil {
      guard tensor.dtype == networks[0].type else {
        throw TemperError(.malformedFile, "\"\(name)\" must be \(networks[0].type.name).")
      }
      resumed.kept.append((String(name.dropFirst("kept.".count)), tensor))
    }
    if let stranger = left.keys.min() {
      throw TemperError(.malformedFile, "\"\(stranger)\" does not belong into a checkpoint of this trainer.")
    }
    for (schedule, state) in zip(adaptiveSchedules, observed) { try schedule.load(state) }
    for (network, state) in zip(networks, searches) { try network.motion.loadSearch(state) }
    for copy in copies { copy.to.copyBytes(from: copy.from) }
    for (network, values) in zip(networks, scalars) { network.motion.setScalars(values) }
    run = resumed
  }

  /// What must be equal for a run to go on with the same bits.
  private var settings: [(name: String, text: String)] {
    func text(_ method: Method, _ arguments: Arguments) -> String {
      "\(method.name)(\(arguments.text))"
    }
    func text(_ group: OptimizerInstance.Group) -> String {
      let schedule = group.schedule.map { " by \(text($0.method, $0.arguments))" } ?? ""
      return "\(group.positions.inOrder(<)): \(text(optimizer, group.arguments))\(schedule)"
    }
    let clipping = options.clipping
    return [
      ("model", networks.map { "\($0.model.description.text) on \($0.model.input.shape)" }.joined(separator: "; ")),
      ("dtype", networks[0].type.name),
      (
        "loss",
        ([text(loss.method, loss.arguments)]
          + loss.schedules.map {
            "\($0.parameter) by \($0.clock): \(text($0.schedule.method, $0.schedule.arguments))"
          }).joined(separator: "; ")
      ),
      ("optimizer", ([text(optimizer, optimizerArguments)] + groups.map(text)).joined(separator: "; ")),
      ("schedule", schedule.map { text($0.method, $0.arguments) } ?? "none"),
      ("procedure", "\(procedure.name)(\(procedure.settings))"),
      ("batch size", "\(options.batchSize)\(options.dropsLast ? ", last dropped" : "")"),
      ("seed", "\(options.seed)"),
      ("clipping", "value \(clipping.value?.description ?? "none"), norm \(clipping.norm?.description ?? "none")"),
    ]
  }

  private static func stateName(schedule index: Int) -> String { "schedule\(index == 0 ? "" : "\(index)").state" }

  /// In the order of `weights`, with buffers and frozen parameters by name and the trained parameters of a network as one vector.
  private var weightTensors: [(name: String, tensor: Tensor)] {
    networks.enumerated().flatMap { index, network in
      [("network\(index).parameters", network.parameters)]
        + network.model.kept.compactMap { kept in kept.tensor.map { ("network\(index).\(kept.name)", $0) } }
    }
  }

  private var optimizerTensors: [(name: String, tensor: Tensor)] {
    networks.enumerated().flatMap { index, network in
      network.optimizerStates.map { ("optimizer\(index).\($0.name)", $0.tensor) }
    }
  }
}

extension Arguments {
  /// All values by name, in one order.
  package var text: String {
    values.inOrder { $0.key < $1.key }.map { "\($0.key)=\($0.value.description)" }.joined(separator: ", ")
  }
}

extension Run {
  /// Exact: all counts are below 2^53.
  var progress: [Double] {
    [
      Double(position.epoch), Double(position.step), Double(position.steps), lossSum, Double(lossCount), seconds,
      monitored.map { Double($0.rawValue) } ?? -1, monitor.best, Double(monitor.bestEpoch), Double(monitor.stale),
      multiplications,
    ]
  }

  init(progress: [Double]) throws(TemperError) {
    // Checkpoints of earlier versions do not count multiplications.
    let progress = progress.count == 10 ? progress + [0] : progress
    let counts = [0, 1, 2, 4, 8, 9].compactMap { progress.indices.contains($0) ? Int(exactly: progress[$0]) : nil }
    guard progress.count == 11, counts.count == 6, counts.allSatisfy({ $0 >= 0 && $0 < 1 << 53 }), counts[0] >= 1,
      progress[3].isFinite, progress[5].isFinite, progress[10].isFinite, progress[10] >= 0
    else { throw TemperError(.malformedFile, "The checkpoint's progress is missing or impossible.") }
    (position.epoch, position.step, position.steps) = (counts[0], counts[1], counts[2])
    (lossSum, lossCount, seconds, multiplications) = (progress[3], counts[3], progress[5], progress[10])
    monitored = Int(exactly: progress[6]).flatMap(Quantity.init(rawValue:))
    (monitor.best, monitor.bestEpoch, monitor.stale) = (progress[7], counts[4], counts[5])
  }
}
