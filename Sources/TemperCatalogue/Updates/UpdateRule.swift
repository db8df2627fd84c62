import TemperCore
import TemperGraph

/// What must be known before a rule can go on, in the order in which it asked.
package enum UpdateStage: Sendable {
  /// Scalars of each parameter, summed over all.
  case totals([(name: String, value: Expression)])
  /// A number made on the host from an array of each parameter.
  case gathered(
    String, Expression, when: (@Sendable (StepNumbers) -> Bool)?,
    @Sendable ([Tensor]) throws(TemperError) -> Double)
  /// A gradient at another point.
  case gradient(String, at: Expression, when: (@Sendable (StepNumbers) -> Bool)?)

  var expressions: [Expression] {
    switch self {
    case .totals(let totals): totals.map(\.value)
    case .gathered(_, let value, _, _): [value]
    case .gradient(_, let point, _): [point]
    }
  }

  var isGradient: Bool { if case .gradient = self { true } else { false } }
}

/// An update rule for one shape and one set of arguments, as expressions over the inputs "parameter", "gradient" (and
/// "gradient.NAME"), "state.NAME", "number.NAME" and "clock".
package struct UpdateRule: Sendable {
  package let parameter: Expression
  package let states: [(name: String, shape: Shape, start: StateStart, value: Expression)]
  package let numbers: [(name: String, value: @Sendable (StepNumbers) -> Double)]
  package let scalars: [(name: String, initial: Double, next: @Sendable (StepNumbers) -> Double)]
  package let stages: [UpdateStage]
  package let evaluation: Expression?
  /// Parameters whose schedules the rule follows, as the method calls them that does.
  let followed: Set<String>

  package init(
    _ method: Method, _ arguments: Arguments, shape: Shape, type: DType = .float32,
    clipping: GradientClipping = GradientClipping()
  ) throws(TemperError) {
    guard case .update(let rule) = method.implementation else { throw Method.notAnOptimizer(method) }
    let record = Update.Record { clipping.clipped(.input("gradient." + $0, shape), "." + $0) }
    let update = Update(
      arguments, parameter: .input("parameter", shape), gradient: clipping.clipped(.input("gradient", shape), ""),
      epsilon: type == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne), record: record)
    parameter = try rule(update)
    if let error = record.error { throw error.from(method.name) }
    var states: [(name: String, shape: Shape, start: StateStart, value: Expression)] = []
    for state in record.states {
      // A state that is only read stays as it began.
      let value = record.newStates[state.name] ?? .input("state." + state.name, state.shape)
      states.append((state.name, state.shape, state.start, value))
    }
    self.states = states
    (numbers, stages, evaluation) = (record.numbers, record.stages, record.evaluation)
    followed = record.followed
    scalars = record.scalars.map { ($0.name, $0.initial, record.newScalars[$0.name] ?? { _ in .nan }) }
    for expression in [parameter] + states.map(\.value) + stages.flatMap(\.expressions) {
      if let error = expression.error { throw error.from(method.name) }
    }
  }

  /// Gradients beyond the first.
  package var needsClosure: Bool { stages.contains(where: \.isGradient) }
}

/// Bounds on gradients before the update rule sees them.
package struct GradientClipping: Sendable, Hashable {
  /// Every element into [-value, value].
  package var value: Double?
  /// All gradients together scaled so that their norm is at most this.
  package var norm: Double?
  package init(value: Double? = nil, norm: Double? = nil) { (self.value, self.norm) = (value, norm) }

  /// By the global norm, then by value; part of the update's own pass over memory.
  func clipped(_ gradient: Expression, _ suffix: String) -> Expression {
    let scaled = norm == nil ? gradient : gradient * .input("number.gradient_scale" + suffix, [])
    return value.map { clamp(scaled, -$0, $0) } ?? scaled
  }

  /// min(1, bound / norm)
  package func scale(_ norm: Double) -> Double {
    guard let bound = self.norm, norm > bound else { return 1 }
    return bound / norm
  }

  package func validate() throws(TemperError) {
    for bound in [value, norm] {
      guard let bound else { continue }
      guard bound > 0, bound.isFinite else {
        throw TemperError(.outOfRange, "Gradients are clipped at a finite number above 0; \(bound) came.")
      }
    }
  }
}
