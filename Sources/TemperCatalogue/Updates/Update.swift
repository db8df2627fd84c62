import TemperCore
import TemperGraph

/// What an optimizer builds one step of one parameter from: the parameter, its gradient, state, and numbers.
///
/// A rule is one function from these to the parameter's new value. Where it needs to know something of all parameters
/// together (`total`, `gathered`) or a gradient at another point (`gradient(at:)`), it says so and goes on with an
/// expression that stands for the answer; the engine runs what is needed first and the rest as one fused pass.
package final class Update {
  package let arguments: Arguments
  package let parameter: Expression
  package let gradient: Expression
  /// The distance from 1 to the next number of the working type.
  package let epsilon: Double
  private let record: Record
  /// Calls of `step` for each step that this method sees.
  private let callsPerStep: Int
  /// Before the names of state and numbers of a method around others.
  private let scope: String
  private let outerScope: String

  /// What the rule declared, shared between a method and those inside it.
  final class Record {
    var states: [(name: String, shape: Shape, start: StateStart, owner: String)] = []
    var newStates: [String: Expression] = [:]
    var numbers: [(name: String, value: @Sendable (StepNumbers) -> Double)] = []
    var scalars: [(name: String, initial: Double)] = []
    var newScalars: [String: @Sendable (StepNumbers) -> Double] = [:]
    var stages: [UpdateStage] = []
    var evaluation: Expression?
    /// Parameters whose schedules the rule follows.
    var followed: Set<String> = []
    var error: TemperError?
    /// The expression of a gradient that the rule asked for, under its name.
    let makeGradient: (String) -> Expression

    init(makeGradient: @escaping (String) -> Expression) { self.makeGradient = makeGradient }
  }

  init(
    _ arguments: Arguments, parameter: Expression, gradient: Expression, epsilon: Double, record: Record,
    scope: String = "", outerScope: String = "", callsPerStep: Int = 1
  ) {
    (self.arguments, self.parameter, self.gradient, self.record) = (arguments, parameter, gradient, record)
    (self.scope, self.outerScope, self.callsPerStep) = (scope, outerScope, callsPerStep)
    self.epsilon = epsilon
  }

  package func real(_ name: String) -> Double {
    if arguments.schedules[name] != nil { record.error = Update.fixed(name) }
    return arguments.real(name)
  }
  package func optionalReal(_ name: String) -> Double? { arguments.optionalReal(name) }
  package func boolean(_ name: String) -> Bool { arguments.boolean(name) }
  package func integer(_ name: String) -> Int { arguments.integer(name) }
  package func text(_ name: String) -> String { arguments.text(name) }

  // MARK: state

  /// State of the parameter's shape that starts at `initial` everywhere.
  package func state(_ name: String, initial: Double = 0) -> Expression {
    state(name, shape: parameter.shape, .value(initial))
  }

  /// State that starts as the parameter itself.
  package func stateFromParameter(_ name: String) -> Expression { state(name, shape: parameter.shape, .parameter) }

  /// State of any shape: row and column factors, matrices.
  package func state(_ name: String, shape: Shape, _ start: StateStart = .value(0)) -> Expression {
    let name = scope + name
    if let known = record.states.first(where: { $0.name == name }) {
      if known.shape != shape { record.error = Update.twice(name) }
    } else {
      record.states.append((name, shape, start, scope))
    }
    return .input("state." + name, shape)
  }

  package func set(_ name: String, to value: Expression) {
    if record.newStates.updateValue(value, forKey: scope + name) != nil { record.error = Update.twice(scope + name) }
  }

  static func fixed(_ name: String) -> TemperError {
    TemperError(.unsupported, "Parameter \(name) follows no schedule: what this method does with it is made once.")
  }

  private static func twice(_ name: String) -> TemperError {
    TemperError(.invalidArgument, "The state \"\(name)\" would be kept twice: a method cannot stand around itself.")
  }

  // MARK: numbers

  /// A number of this step, such as a bias correction 1 - beta^t: computed once, in double precision.
  package func number(_ name: String, _ value: @escaping @Sendable (StepNumbers) -> Double) -> Expression {
    let (name, scope, calls) = (scope + name, scope, callsPerStep)
    if !record.numbers.contains(where: { $0.name == name }) {
      record.numbers.append((name, { value($0.scoped(scope, callsPerStep: calls)) }))
    }
    return .input("number." + name, [])
  }

  /// The learning rate of this step: the schedule's value.
  package var learningRate: Expression {
    if !record.numbers.contains(where: { $0.name == "learning_rate" }) {
      record.numbers.append(("learning_rate", { $0.learningRate }))
    }
    return .input("number.learning_rate", [])
  }

  /// A parameter of the method that a schedule may move: what it is at a step.
  package func course(of name: String) -> @Sendable (StepNumbers) -> Double {
    guard let schedule = arguments.schedules[name] else {
      let value = real(name)
      return { _ in value }
    }
    record.followed.insert(name)
    return { schedule.value(at: Double($0.call - 1)) }
  }

  /// A parameter that a schedule may move: a constant, or a number of the step.
  package func moving(_ name: String) -> Expression { moving(name, "") { $0 } }

  /// 1 less such a parameter.
  package func complement(of name: String) -> Expression { moving(name, ".complement") { 1 - $0 } }

  /// Whether a parameter is 0 in all steps.
  package func isZero(_ name: String) -> Bool { arguments.schedules[name] == nil && real(name) == 0 }

  private func moving(
    _ name: String, _ suffix: String, _ change: @escaping @Sendable (Double) -> Double
  ) -> Expression {
    if arguments.schedules[name] == nil { return .constant(change(real(name))) }
    let course = course(of: name)
    return number("scheduled." + name + suffix) { change(course($0)) }
  }

  /// A number that is kept from step to step, in double precision; `number` and `next` read it as `$0["name"]`.
  package func scalar(
    _ name: String, initial: Double, next: @escaping @Sendable (StepNumbers) -> Double
  ) {
    let (name, scope, calls) = (scope + name, scope, callsPerStep)
    record.scalars.append((name, initial))
    record.newScalars[name] = { next($0.scoped(scope, callsPerStep: calls)) }
  }

  // MARK: what takes more than one pass

  /// Sums over all parameters of scalars of each, to be read as `$0["name"]` in numbers from here on.
  package func totals(_ values: [(name: String, value: Expression)]) {
    record.stages.append(.totals(values.map { (scope + $0.name, $0.value) }))
  }

  /// The sum over all parameters of a scalar of each.
  package func total(_ name: String, _ value: Expression) -> Expression {
    totals([(name, value)])
    return number(name) { $0[name] }
  }

  /// A number made from an array of every parameter.
  package func gathered(
    _ name: String, _ value: Expression, when: (@Sendable (StepNumbers) -> Bool)? = nil,
    _ make: @escaping @Sendable ([Tensor]) throws(TemperError) -> Double
  ) -> Expression {
    let scope = scope
    let wanted = when.map { when in { @Sendable (n: StepNumbers) in when(n.scoped(scope)) } }
    record.stages.append(.gathered(scope + name, value, when: wanted, make))
    return number(name) { $0[name] }
  }

  /// The gradient of the same loss on the same samples with `point` in place of the parameter. In steps in which `when`
  /// does not hold it is not computed; the expression is then some finite numbers to be left out by `select`.
  package func gradient(
    _ name: String, at point: Expression, when: (@Sendable (StepNumbers) -> Bool)? = nil
  ) -> Expression {
    let (name, scope) = (scope + name, scope)
    let wanted = when.map { when in { @Sendable (n: StepNumbers) in when(n.scoped(scope)) } }
    record.stages.append(.gradient(name, at: point, when: wanted))
    return record.makeGradient(name)
  }

  /// Uniforms in [0, 1) of the parameter's shape, other ones in each step and for each parameter.
  package func uniform(_ stream: UInt32) -> Expression {
    .uniform(parameter.shape, clock: .input("clock", [4], .index), stream: stream)
  }

  /// Standard normal numbers, by the inverse of their distribution function.
  package func normal(_ stream: UInt32) -> Expression {
    // A uniform is a multiple of 2^-24 or finer; half of that away from 0 the inverse is finite.
    2.0.squareRoot() * erfInverse(clamp(2 * uniform(stream) - 1, -1 + 0x1p-24, 1 - 0x1p-24))
  }

  /// What the model should be used with: an average of the parameters, of their shape, from the parameter and the state
  /// as they are after a step.
  package func evaluate(at value: Expression) { record.evaluation = value }

  // MARK: methods around others

  /// The same with names of its own, for a method around another.
  func scoped(_ name: String) -> Update {
    Update(
      arguments, parameter: parameter, gradient: gradient, epsilon: epsilon, record: record,
      scope: scope + name + ".", outerScope: scope, callsPerStep: callsPerStep)
  }

  /// What the method inside makes of the parameter, with its own share of the arguments.
  ///
  /// `due`: in other steps it does nothing, and its state stays. `callsPerStep`: it counts one step for so many calls.
  package func inner(
    _ method: Method, gradient: Expression? = nil, changing changes: [(name: String, value: Value)] = [],
    callsPerStep: Int = 1, due: (@Sendable (StepNumbers) -> Bool)? = nil
  ) throws(TemperError) -> Expression {
    guard case .update(let rule) = method.implementation else { throw Method.notAnOptimizer(method) }
    let update = Update(
      try method.innerArguments(arguments, changing: changes), parameter: parameter,
      gradient: gradient ?? self.gradient, epsilon: epsilon, record: record, scope: outerScope,
      callsPerStep: self.callsPerStep * callsPerStep)
    let before = (states: Set(record.newStates.keys), scalars: Set(record.newScalars.keys))
    let value = try rule(update)
    guard let due else { return value }
    let isDue = number("due") { due($0) ? 1 : 0 }
    for (name, state) in record.newStates where !before.states.contains(name) {
      record.newStates[name] = .select(isDue, state, .input("state." + name, state.shape))
    }
    let scope = scope
    for (name, next) in record.newScalars where !before.scalars.contains(name) {
      record.newScalars[name] = { due($0.scoped(scope)) ? next($0) : $0[name] }
    }
    return .select(isDue, value, parameter)
  }
}

/// How state begins.
package enum StateStart: Sendable, Hashable {
  case value(Double)
  case parameter
  /// Ones on the diagonal of a square matrix, times a number.
  case identity(Double)
}

/// What a step knows of itself.
package struct StepNumbers: Sendable {
  /// 1 at the first step.
  package let step: Int
  /// The step of the whole optimizer, of which a method inside another may count several as one.
  package let call: Int
  package let learningRate: Double
  /// Scalars as they were before this step, and totals as far as they are known.
  private let values: [String: Double]
  private let scope: String

  package init(
    step: Int, call: Int? = nil, learningRate: Double, values: [String: Double] = [:], scope: String = ""
  ) {
    (self.step, self.call, self.learningRate) = (step, call ?? step, learningRate)
    (self.values, self.scope) = (values, scope)
  }

  /// A scalar or total that the rule declared.
  package subscript(name: String) -> Double { values[scope + name] ?? .nan }

  /// As a method sees it whose names begin with `scope`, and for which so many calls are one step.
  func scoped(_ scope: String, callsPerStep: Int = 1) -> StepNumbers {
    StepNumbers(
      step: (step + callsPerStep - 1) / callsPerStep, call: call, learningRate: learningRate, values: values,
      scope: scope)
  }
}
