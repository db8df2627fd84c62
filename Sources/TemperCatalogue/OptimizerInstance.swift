import TemperCore
import TemperGraph

/// One step of one parameter as expressions: for the optimizer's own plans, and to be fused into a trainer's.
package struct UpdateExpression: Sendable {
  package let parameter: Expression
  /// State of the parameter's shape, in the order of the rule.
  package let states: [(name: String, initial: Double, value: Expression)]
  /// Scalar inputs "number.NAME", to be bound once a step.
  package let numbers: [(name: String, value: @Sendable (StepNumbers) -> Double)]

  /// State is read from the inputs "state.NAME" of `prefix`.
  package init(
    _ method: Method, _ arguments: Arguments, parameter: Expression, gradient: Expression, prefix: String = ""
  ) throws(TemperError) {
    guard case .update(let rule) = method.implementation else {
      throw TemperError(
        .invalidArgument, "\"\(method.name)\" is of kind \(method.kind.rawValue), not an optimizer with an update rule."
      )
    }
    let update = Update(arguments: arguments, parameter: parameter, gradient: gradient) { .input(prefix + $0, $1) }
    self.parameter = try rule(update)
    var states: [(name: String, initial: Double, value: Expression)] = []
    for state in update.states {
      guard let value = update.newStates.last(where: { $0.name == state.name })?.value else {
        throw TemperError(.internalFault, "The state \(state.name) is declared but never set.", origin: method.name)
      }
      states.append((state.name, state.initial, value))
    }
    (self.states, numbers) = (states, update.numbers)
    for expression in [self.parameter] + states.map(\.value) {
      if let error = expression.error { throw error.from(method.name) }
    }
  }
}

/// Bounds on gradients before the update rule sees them.
package struct GradientClipping: Sendable, Hashable {
  /// Every element into [-value, value].
  package var value: Double?
  /// All gradients together scaled so that their norm is at most this.
  package var norm: Double?
  package init(value: Double? = nil, norm: Double? = nil) { (self.value, self.norm) = (value, norm) }
}

/// An optimizer with its parameters and state. Groups with other settings are other instances. Used by one thread at
/// a time.
package final class OptimizerInstance {
  package let method: Method
  package let arguments: Arguments
  /// Steps made.
  package private(set) var step = 0
  private let clipping: GradientClipping
  private let workers: Workers
  private let stateNames: [(name: String, initial: Double)]
  private var slots: [Slot] = []
  private var plans: [Key: Pass] = [:]
  private var squares: [Key: Execution] = [:]

  private struct Key: Hashable {
    let shape: Shape
    let type: DType
  }

  /// What belongs to one parameter.
  private struct Slot {
    let shape: Shape
    let type: DType
    var states: [Tensor]
  }

  /// The fused pass for one shape, with the memory of its numbers.
  private struct Pass {
    let execution: Execution
    let numbers: [(name: String, tensor: Tensor, value: @Sendable (StepNumbers) -> Double)]
    let scale: Tensor
  }

  package init(
    _ method: Method, _ arguments: Arguments, clipping: GradientClipping = GradientClipping(), workers: Workers
  ) throws(TemperError) {
    for bound in [clipping.value, clipping.norm] {
      guard bound.map({ $0 > 0 }) ?? true else {
        throw TemperError(.outOfRange, "Gradients are clipped at a number above 0.")
      }
    }
    (self.method, self.arguments, self.clipping, self.workers) = (method, arguments, clipping, workers)
    let probe = try UpdateExpression(
      method, arguments, parameter: .input("parameter", [1]), gradient: .input("gradient", [1]))
    stateNames = probe.states.map { ($0.name, $0.initial) }
  }

  /// Moves every parameter in place. The first call fixes how many there are and their shapes and types.
  package func step(
    _ parameters: [Tensor], _ gradients: [Tensor], learningRate: Double? = nil
  ) throws(TemperError) {
    do throws(TemperError) {
      try check(parameters, gradients)
      if slots.isEmpty {
        var made: [Slot] = []
        for parameter in parameters { made.append(try newSlot(parameter)) }
        slots = made
      }
      let scale = try gradientScale(gradients, parameters)
      let numbers = StepNumbers(step: step + 1, learningRate: learningRate ?? defaultLearningRate)
      for (index, parameter) in parameters.enumerated() {
        try update(index, parameter, gradients[index], numbers, scale)
      }
      step += 1
    } catch { throw error.from(method.name) }
  }

  /// State by parameter as "INDEX.NAME", in order.
  package var stateDictionary: [(name: String, tensor: Tensor)] {
    slots.enumerated().flatMap { index, slot in
      zip(stateNames, slot.states).map { ("\(index).\($0.name)", $1) }
    }
  }

  /// Takes over state that `stateDictionary` gave, by copy. Nothing changes if it does not fit.
  package func load(step: Int, _ tensors: [(name: String, tensor: Tensor)]) throws(TemperError) {
    do throws(TemperError) {
      guard step >= 0 else { throw TemperError(.outOfRange, "A step count is 0 or more; \(step) came.") }
      let given = Dictionary(tensors.map { ($0.name, $0.tensor) }) { $1 }
      let count = stateNames.isEmpty ? slots.count : given.count / stateNames.count
      guard given.count == count * stateNames.count || stateNames.isEmpty && given.isEmpty else {
        throw TemperError(
          .invalidArgument,
          "\(given.count) arrays of state came; there are \(stateNames.count) for each parameter: \(stateNames.map(\.name).joined(separator: ", "))."
        )
      }
      guard slots.isEmpty || slots.count == count else {
        throw TemperError(
          .invalidArgument, "State of \(count) parameters came; this optimizer works on \(slots.count).")
      }
      var made: [Slot] = []
      for index in 0..<(stateNames.isEmpty ? 0 : count) {
        var states: [Tensor] = []
        for state in stateNames {
          guard let tensor = given["\(index).\(state.name)"], tensor.dtype.isFloating else {
            throw TemperError(.invalidArgument, "The state \"\(index).\(state.name)\" is missing or holds no floats.")
          }
          let slot = slots.isEmpty ? nil : slots[index]
          guard slot.map({ $0.shape == tensor.shape }) ?? true, states.allSatisfy({ $0.shape == tensor.shape }) else {
            throw TemperError(
              .invalidShape, "The state \"\(index).\(state.name)\" has shape \(tensor.shape), unlike its parameter.")
          }
          states.append(try tensor.copy(as: slot?.type ?? tensor.dtype))
        }
        made.append(Slot(shape: states[0].shape, type: states[0].dtype, states: states))
      }
      if !stateNames.isEmpty { slots = made }
      self.step = step
    } catch { throw error.from(method.name) }
  }

  private var defaultLearningRate: Double {
    if case .real(let rate)? = arguments.values["learning_rate"] { rate } else { 0 }
  }

  private var isElementwise: Bool { method.properties.contains("elementwise") }

  private func key(_ parameter: Tensor) -> Key {
    Key(shape: isElementwise ? [parameter.count] : parameter.shape, type: parameter.dtype)
  }

  private func newSlot(_ parameter: Tensor) throws(TemperError) -> Slot {
    var states: [Tensor] = []
    for state in stateNames {
      let tensor = try Tensor(zeros: parameter.shape, parameter.dtype)
      if state.initial != 0 { try tensor.fill(state.initial) }
      states.append(tensor)
    }
    return Slot(shape: parameter.shape, type: parameter.dtype, states: states)
  }

  private func check(_ parameters: [Tensor], _ gradients: [Tensor]) throws(TemperError) {
    guard parameters.count == gradients.count else {
      throw TemperError(
        .invalidArgument, "\(parameters.count) parameters and \(gradients.count) gradients came; one each is needed.")
    }
    guard slots.isEmpty || slots.count == parameters.count else {
      throw TemperError(
        .invalidArgument, "\(parameters.count) parameters came; this optimizer began with \(slots.count).")
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
      if !slots.isEmpty, slots[index].shape != parameter.shape || slots[index].type != parameter.dtype {
        throw TemperError(
          .invalidShape,
          "Parameter \(index) is \(parameter.dtype.name) of shape \(parameter.shape); it began as \(slots[index].type.name) of shape \(slots[index].shape).",
          argument: Int32(index))
      }
    }
  }

  private func update(
    _ index: Int, _ parameter: Tensor, _ gradient: Tensor, _ numbers: StepNumbers, _ scale: Double
  ) throws(TemperError) {
    guard parameter.count > 0 else { return }
    let key = key(parameter)
    let pass: Pass
    if let made = plans[key] {
      pass = made
    } else {
      pass = try makePass(key)
      plans[key] = pass
    }
    let needed = Set(pass.execution.plan.inputs.map { $0.name })
    let dense = try parameter.dense().reshaped(key.shape)
    try pass.execution.bind("parameter", to: dense)
    if needed.contains("gradient") {
      let converted = gradient.dtype == key.type ? try gradient.dense() : try gradient.copy(as: key.type)
      try pass.execution.bind("gradient", to: try converted.reshaped(key.shape))
    }
    for (state, tensor) in zip(stateNames, slots[index].states) {
      try pass.execution.bind("state." + state.name, to: try tensor.reshaped(key.shape))
    }
    for number in pass.numbers where needed.contains("number." + number.name) {
      number.tensor.store(number.value(numbers))
      try pass.execution.bind("number." + number.name, to: number.tensor)
    }
    if needed.contains("gradient_scale") {
      pass.scale.store(scale)
      try pass.execution.bind("gradient_scale", to: pass.scale)
    }
    try pass.execution.run()
    if !parameter.isDense { try parameter.assign(from: try dense.reshaped(parameter.shape)) }
  }

  private func makePass(_ key: Key) throws(TemperError) -> Pass {
    var gradient = Expression.input("gradient", key.shape)
    if clipping.norm != nil { gradient = gradient * .input("gradient_scale", []) }
    if let bound = clipping.value { gradient = clamp(gradient, -bound, bound) }
    let update = try UpdateExpression(
      method, arguments, parameter: .input("parameter", key.shape), gradient: gradient)
    let outputs =
      [Output(update.parameter, inPlaceOf: "parameter")]
      + update.states.map { Output($0.value, inPlaceOf: "state." + $0.name) }
    let execution = try Execution(try Plan(outputs, type: key.type), workers: workers)
    var numbers: [(name: String, tensor: Tensor, value: @Sendable (StepNumbers) -> Double)] = []
    for number in update.numbers { numbers.append((number.name, try Tensor(zeros: [], key.type), number.value)) }
    return Pass(execution: execution, numbers: numbers, scale: try Tensor(zeros: [], key.type))
  }

  /// min(1, bound / norm of all gradients together).
  private func gradientScale(_ gradients: [Tensor], _ parameters: [Tensor]) throws(TemperError) -> Double {
    guard let bound = clipping.norm else { return 1 }
    var total = 0.0
    for (gradient, parameter) in zip(gradients, parameters) where gradient.count > 0 {
      let key = Key(shape: [gradient.count], type: parameter.dtype)
      let execution: Execution
      if let made = squares[key] {
        execution = made
      } else {
        let sum = square(Expression.input("gradient", key.shape)).sumAll()
        execution = try Execution(try Plan([Output(sum)], type: key.type), workers: workers)
        squares[key] = execution
      }
      let converted = gradient.dtype == key.type ? try gradient.dense() : try gradient.copy(as: key.type)
      try execution.bind("gradient", to: try converted.reshaped(key.shape))
      try execution.run()
      total += execution.output(0).scalar
    }
    return min(1, bound / total.squareRoot())
  }
}
