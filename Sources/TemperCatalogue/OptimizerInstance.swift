import TemperCore

/// An optimizer with its parameters and state. Used by one thread at a time.
package final class OptimizerInstance {
  package let method: Method
  package private(set) var arguments: Arguments
  /// Steps made.
  package private(set) var step = 0
  private let workers: Workers
  private let clipping: GradientClipping
  /// Settings that parameters have of their own; group 0 is all others.
  package private(set) var groups: [Group]
  /// Whether a step takes losses or gradients at several points.
  package let needsClosure: Bool
  private var isStepping = false
  private var work: Work?
  /// What the last step was made on.
  private var present: (parameters: [Tensor], gradients: [Tensor], arrays: Arrays)?
  /// State that came before the parameters did.
  private var waiting: [(name: String, tensor: Tensor)]?

  package struct Group {
    package let positions: Set<Int>
    package let arguments: Arguments
    package let schedule: ScheduleInstance?
    /// Whether its learning rate is its own, not that of the whole.
    package let hasOwnRate: Bool

    package init(
      _ arguments: Arguments, positions: Set<Int> = [], schedule: ScheduleInstance? = nil, hasOwnRate: Bool = false
    ) {
      (self.arguments, self.positions) = (arguments, positions)
      (self.schedule, self.hasOwnRate) = (schedule, hasOwnRate)
    }
  }

  private enum Work {
    case update(UpdateEngine)
    case search(SearchEngine)
  }

  package init(
    _ method: Method, _ arguments: Arguments, clipping: GradientClipping = GradientClipping(), workers: Workers
  ) throws(TemperError) {
    try clipping.validate()
    (self.method, self.arguments, self.workers, self.clipping) = (method, arguments, workers, clipping)
    groups = [Group(arguments)]
    if case .search(let make) = method.implementation {
      do throws(TemperError) { _ = try make(arguments) } catch { throw error.from(method.name) }
      needsClosure = true
    } else {
      needsClosure = try UpdateRule(method, arguments, shape: [1]).needsClosure
    }
  }

  /// A parameter of the method follows a schedule of the steps from now on, also in groups that are made later and give
  /// it no value of their own.
  package func follow(_ name: String, _ schedule: ScheduleInstance) throws(TemperError) {
    do throws(TemperError) {
      guard work == nil, groups.count == 1 else {
        throw TemperError(.wrongState, "Schedules of parameters are given before groups and before the first step.")
      }
      guard let parameter = method.parameters.first(where: { $0.isCalled(name) }) else {
        throw TemperError(
          .unknownName,
          "There is no parameter \"\(name)\"; there are: \(method.parameters.map(\.name).joined(separator: ", ")).")
      }
      guard parameter.name != "learning_rate", !schedule.isAdaptive, case .real = parameter.kind,
        case .update = method.implementation
      else {
        throw TemperError(
          .unsupported,
          "A real parameter of an update rule can follow a schedule, one of the step alone; the learning rate has its own, of a trainer or a group. Given were \(parameter.name) and \(schedule.method.name)."
        )
      }
      var moved = arguments
      moved.follow(parameter.name, schedule)
      let rule = try UpdateRule(method, moved, shape: [1])
      let prefix = parameter.name.hasPrefix(Method.basePrefix) ? Method.basePrefix.count : 0
      guard rule.followed.contains(String(parameter.name.dropFirst(prefix))) else { throw Update.fixed(parameter.name) }
      try moved.checkSchedules(step: 0, of: method.parameters)
      arguments = moved
      groups = [Group(moved)]
    } catch { throw error.from(method.name) }
  }

  /// Parameters at these positions follow other settings and, if wanted, a schedule of their own.
  package func addGroup(
    _ positions: [Int], _ changes: [(name: String, value: Value)], schedule: ScheduleInstance? = nil
  ) throws(TemperError) {
    do throws(TemperError) {
      guard work == nil else {
        throw TemperError(.wrongState, "Groups are made before the first step.")
      }
      if case .search = method.implementation {
        throw TemperError(.unsupported, "This method moves all parameters as one vector; it has no groups.")
      }
      for position in positions {
        guard position >= 0 else { throw TemperError(.outOfRange, "Positions are 0 or more; \(position) came.") }
        guard !groups.contains(where: { $0.positions.contains(position) }) else {
          throw TemperError(.invalidArgument, "Parameter \(position) is in two groups.")
        }
      }
      let own = try arguments.replacing(changes, for: method.parameters)
      _ = try UpdateRule(method, own, shape: [1])
      let isRate = method.parameters.first { $0.name == "learning_rate" }
      groups.append(
        Group(
          own, positions: Set(positions), schedule: schedule,
          hasOwnRate: schedule != nil || changes.contains { isRate?.isCalled($0.name) ?? false }))
    } catch { throw error.from(method.name) }
  }

  /// Moves every parameter in place. The first call fixes how many there are and their shapes and types.
  ///
  /// `evaluate` computes the loss and writes the gradients at the parameters as they stand; with it the gradients need
  /// not be there before. Returns the loss at the beginning of the step, or nil without it.
  @discardableResult
  package func step(
    _ parameters: [Tensor], _ gradients: [Tensor], learningRate: Double? = nil,
    evaluate: (() throws(TemperError) -> Double)? = nil
  ) throws(TemperError) -> Double? {
    do throws(TemperError) {
      guard !isStepping else {
        throw TemperError(.wrongState, "The optimizer is in the middle of a step: its closure cannot use it.")
      }
      isStepping = true
      defer { isStepping = false }
      if !isBound(to: parameters, gradients) {
        present = nil
        try check(parameters, gradients)
      }
      guard evaluate != nil || !needsClosure else {
        throw TemperError(
          .invalidArgument,
          "A step of this method takes losses or gradients at several points: it needs a closure that computes them.")
      }
      let (arrays, work): (Arrays, Work)
      if let present, let known = self.work {
        (arrays, work) = (present.arrays, known)
      } else {
        arrays = try Arrays(parameters, gradients)
        work = try self.work(for: arrays)
        if arrays.areCallers { present = (parameters, gradients, arrays) }
      }
      return try move(arrays, by: work, learningRate: learningRate, evaluate)
    } catch { throw error.from(method.name) }
  }

  /// A step on the arrays of the last one, which its caller knows to be the same; false, and nothing done, if they were
  /// not used where they lie.
  package func stepAgain(learningRate: Double? = nil) throws(TemperError) -> Bool {
    guard let present, let work, !needsClosure, !isStepping else { return false }
    isStepping = true
    defer { isStepping = false }
    do throws(TemperError) { _ = try move(present.arrays, by: work, learningRate: learningRate, nil) } catch {
      throw error.from(method.name)
    }
    return true
  }

  private func move(
    _ arrays: Arrays, by work: Work, learningRate: Double?, _ evaluate: (() throws(TemperError) -> Double)?
  ) throws(TemperError) -> Double? {
    var loss: Double?
    switch work {
    case .search(let engine):
      loss = try engine.step(arrays, learningRate: rate(groups[0], learningRate)) { () throws(TemperError) in
        try evaluate?() ?? .nan
      }
    case .update(let engine):
      if let evaluate {
        loss = try evaluate()
        try arrays.readGradients()
      }
      var again: UpdateEngine.Evaluate?
      if let evaluate {
        again = { [self] () throws(TemperError) in
          try arrays.writeParameters()
          _ = try evaluate()
          try arrays.readGradients()
          return clipping.scale(arrays.gradientNorm())
        }
      }
      do throws(TemperError) {
        try engine.run(
          step: step + 1, rate: { rate(groups[$0], learningRate) },
          scale: clipping.norm == nil ? 1 : clipping.scale(arrays.gradientNorm()), evaluate: again)
      } catch {
        try arrays.writeParameters()
        throw error
      }
      try arrays.writeParameters()
    }
    step += 1
    return loss
  }

  /// Whether a step was last made on just these tensors, all of them used where they are: then nothing is to be checked.
  package func isBound(to parameters: [Tensor], _ gradients: [Tensor]) -> Bool {
    guard let present, present.parameters.count == parameters.count, present.gradients.count == gradients.count else {
      return false
    }
    for index in parameters.indices {
      guard present.parameters[index].isIdentical(to: parameters[index]),
        present.gradients[index].isIdentical(to: gradients[index])
      else { return false }
    }
    return true
  }

  /// Where the model should be evaluated (an average of the parameters, if the method keeps one), written to arrays
  /// like the parameters.
  package func evaluationPoint(_ parameters: [Tensor], into targets: [Tensor]) throws(TemperError) {
    do throws(TemperError) {
      try check(parameters, targets)
      present = nil
      guard case .update(let engine)? = work, engine.hasEvaluation else {
        for (target, parameter) in zip(targets, parameters) { try target.assign(from: parameter) }
        return
      }
      let arrays = try Arrays(parameters, targets)
      try engine.rebind(arrays.parts(group))
      // Not into the targets at once: the rule may read the parameter that a target is.
      var results: [Tensor] = []
      for parameter in parameters { results.append(try Tensor(zeros: parameter.shape, parameter.dtype)) }
      try engine.evaluationPoint(into: arrays.indices.map { results[$0] })
      for (index, target) in targets.enumerated() where target.count > 0 { try target.assign(from: results[index]) }
    } catch { throw error.from(method.name) }
  }

  // MARK: state

  /// State by parameter as "INDEX.NAME", in order, and numbers as "scalar.NAME".
  package var stateDictionary: [(name: String, tensor: Tensor)] {
    switch work {
    case nil: return waiting ?? []
    case .search(let engine): return engine.state
    case .update(let engine):
      var all: [(name: String, tensor: Tensor)] = []
      for (part, states) in zip(engine.positions, engine.states) {
        for state in states { all.append(("\(part).\(state.name)", state.tensor)) }
      }
      for (group, scalars) in engine.scalars.enumerated() {
        for scalar in scalars {
          let name = "scalar.\(scalar.name)" + (group == 0 ? "" : ".group\(group)")
          if let tensor = try? Tensor([scalar.value], shape: []) { all.append((name, tensor)) }
        }
      }
      return all
    }
  }

  /// Takes over state that `stateDictionary` gave, by copy. Nothing changes if it does not fit. Before the first step
  /// it waits for the parameters.
  package func load(step: Int, _ tensors: [(name: String, tensor: Tensor)]) throws(TemperError) {
    do throws(TemperError) {
      guard !isStepping else {
        throw TemperError(.wrongState, "The optimizer is in the middle of a step: its closure cannot use it.")
      }
      guard step >= 0 else { throw TemperError(.outOfRange, "A step count is 0 or more; \(step) came.") }
      if let work {
        try put(tensors, into: work)
      } else {
        try checkNames(tensors)
        var copies: [(name: String, tensor: Tensor)] = []
        for (name, tensor) in tensors { copies.append((name, try tensor.copy())) }
        waiting = copies
      }
      self.step = step
    } catch { throw error.from(method.name) }
  }

  /// What can be said of names before the parameters are known.
  private func checkNames(_ tensors: [(name: String, tensor: Tensor)]) throws(TemperError) {
    guard case .update = method.implementation else { return }
    // Vectors and matrices may keep different things.
    let rules = [
      try UpdateRule(method, arguments, shape: [1]), try UpdateRule(method, arguments, shape: [2, 2]),
    ]
    let scalars = Set(rules.flatMap { $0.scalars.map { "scalar.\($0.name)" } })
    let states = Set(rules.flatMap { $0.states.map(\.name) })
    for (name, _) in tensors {
      if name.hasPrefix("scalar.") {
        let plain = name.split(separator: ".").prefix(2).joined(separator: ".")
        if scalars.contains(plain) { continue }
      } else if let dot = name.firstIndex(of: "."), states.contains(String(name[name.index(after: dot)...])) {
        continue
      }
      throw TemperError(
        .invalidArgument,
        "There is no state \"\(name)\"; the method keeps \(states.isEmpty ? "none" : states.sorted().joined(separator: ", "))."
      )
    }
  }

  private func put(_ tensors: [(name: String, tensor: Tensor)], into work: Work) throws(TemperError) {
    guard case .update(let engine) = work else {
      guard case .search(let engine) = work else { return }
      return try engine.load(tensors)
    }
    var left = Dictionary(tensors.map { ($0.name, $0.tensor) }) { $1 }
    var copies: [(from: Tensor, to: Tensor)] = []
    for (part, states) in zip(engine.positions, engine.states) {
      for state in states {
        let name = "\(part).\(state.name)"
        guard let given = left.removeValue(forKey: name), given.shape == state.tensor.shape,
          given.dtype == state.tensor.dtype
        else {
          throw TemperError(
            .invalidArgument,
            "The state needs \"\(name)\": \(state.tensor.dtype.name) of shape \(state.tensor.shape).")
        }
        copies.append((given, state.tensor))
      }
    }
    var scalars = engine.scalars
    for group in scalars.indices {
      for index in scalars[group].indices {
        let name = "scalar.\(scalars[group][index].name)" + (group == 0 ? "" : ".group\(group)")
        guard let given = left.removeValue(forKey: name), given.count == 1, given.dtype.isFloating else {
          throw TemperError(.invalidArgument, "The state needs \"\(name)\", one number.")
        }
        scalars[group][index].value = given.scalar
      }
    }
    if let stranger = left.keys.min() {
      throw TemperError(.invalidArgument, "There is no state \"\(stranger)\" with these parameters.")
    }
    for copy in copies { copy.to.copyBytes(from: try copy.from.dense()) }
    engine.setScalars(scalars)
  }

  // MARK: parameters

  private func rate(_ group: Group, _ given: Double?) -> Double {
    if let schedule = group.schedule { return schedule.value(at: Double(step)) }
    if let given, !group.hasOwnRate { return given }
    if case .real(let rate)? = group.arguments.values["learning_rate"] { return rate }
    return 0
  }

  private func group(_ position: Int) -> Int { groups.firstIndex { $0.positions.contains(position) } ?? 0 }

  private func work(for arrays: Arrays) throws(TemperError) -> Work {
    if let work {
      if case .update(let engine) = work { try engine.rebind(arrays.parts(group)) }
      return work
    }
    for position in groups.flatMap(\.positions) where position >= arrays.count {
      throw TemperError(
        .outOfRange, "A group has parameter \(position); \(arrays.count) parameters came.")
    }
    let made: Work
    if case .search(let make) = method.implementation {
      made = .search(SearchEngine(try make(arguments), arrays))
    } else {
      made = .update(
        try UpdateEngine(
          method, groups.map(\.arguments), parts: arrays.parts(group), positions: arrays.indices,
          clipping: clipping, workers: workers))
    }
    if let waiting { try put(waiting, into: made) }
    waiting = nil
    work = made
    shapes = arrays.shapes
    return made
  }

  /// Of the first step.
  private var shapes: [(shape: Shape, type: DType)]?

  private func check(_ parameters: [Tensor], _ gradients: [Tensor]) throws(TemperError) {
    guard parameters.count == gradients.count else {
      throw TemperError(
        .invalidArgument, "\(parameters.count) parameters and \(gradients.count) gradients came; one each is needed.")
    }
    if let shapes, shapes.count != parameters.count {
      throw TemperError(
        .invalidArgument, "\(parameters.count) parameters came; this optimizer began with \(shapes.count).")
    }
    for (index, parameter) in parameters.enumerated() {
      let gradient = gradients[index]
      guard parameter.dtype.isFloating, gradient.dtype.isFloating else {
        throw TemperError(
          .invalidType,
          "Parameters and gradients are floats; parameter \(index) is \(parameter.dtype.name), its gradient \(gradient.dtype.name).",
          argument: Int32(index))
      }
      guard !parameter.isReadOnly else {
        throw TemperError(
          .invalidArgument, "Parameter \(index) is read-only; a step writes it in place.", argument: Int32(index))
      }
      guard parameter.shape == gradient.shape else {
        throw TemperError(
          .invalidShape, "Parameter \(index) has shape \(parameter.shape), its gradient \(gradient.shape).",
          argument: Int32(index))
      }
      if let shapes, shapes[index].shape != parameter.shape || shapes[index].type != parameter.dtype {
        throw TemperError(
          .invalidShape,
          "Parameter \(index) is \(parameter.dtype.name) of shape \(parameter.shape); it began as \(shapes[index].type.name) of shape \(shapes[index].shape).",
          argument: Int32(index))
      }
    }
  }
}
