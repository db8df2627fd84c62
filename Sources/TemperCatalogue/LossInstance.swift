import TemperCore
import TemperGraph

/// How values by sample become one number.
package enum LossReduction: String, Sendable, Hashable, CaseIterable {
  /// Values by sample; gradients are those of their sum.
  case none
  case sum
  /// The sum over the samples that count (not masked, not ignored) divided by their number; 0 if none counts.
  case mean
}

/// A loss as expressions, ready to be fused into a larger graph.
package struct LossExpression: Sendable {
  /// (N, 1), or one value for a loss of the whole batch.
  package let values: Expression
  /// 1 for the samples in the denominator of a mean, (N, 1); nil if all are.
  package let counted: Expression?
  package let updates: [(name: String, value: Expression)]
  /// Parameters for which numbers stand; all others are built in.
  package let live: Set<String>

  package init(
    values: Expression, counted: Expression?, updates: [(name: String, value: Expression)] = [],
    live: Set<String> = []
  ) {
    (self.values, self.counted, self.updates, self.live) = (values, counted, updates, live)
  }

  package func reduced(_ reduction: LossReduction) -> Expression {
    switch reduction {
    case .none: return values.reshaped([values.shape.count])
    case .sum: return values.sumAll()
    case .mean:
      guard let counted else { return values.meanAll() }
      return values.sumAll() / maximum(counted.sumAll(), 1)
    }
  }
}

/// A loss with its parameters. Used by one thread at a time.
package final class LossInstance {
  package let method: Method
  package let arguments: Arguments
  /// Parameters that move while a trainer trains.
  package let schedules: [ParameterSchedule]
  /// The record's inputs and state, and the weights and mask that every loss by sample accepts.
  package let inputs: [Input]
  package let isBatchLoss: Bool
  private let ignored: Set<Int>
  let workers: Workers
  private let uses: [Use]
  private var cache = PlanCache<Goal>()

  private enum Goal: Hashable {
    case values
    case gradient(LossReduction, [String])
    case curvature(LossReduction, [String])
    case state([String])
  }

  package init(
    _ method: Method, _ arguments: Arguments, schedules: [ParameterSchedule] = [], workers: Workers
  ) throws(TemperError) {
    guard case .loss = method.implementation else {
      throw TemperError(.invalidArgument, "\"\(method.name)\" is of kind \(method.kind.rawValue), not a loss.")
    }
    (self.method, self.arguments, self.schedules, self.workers) = (method, arguments, schedules, workers)
    uses = try method.beginUses()
    isBatchLoss = method.properties.contains("batch")
    inputs = method.inputs + method.stateInputs + (isBatchLoss ? [] : Input.sampleExtras(besides: method.inputs))
    ignored = arguments.ignoredIds
  }

  /// Values by sample (N,), or (1,) for a loss of the whole batch.
  package func evaluate(_ given: [String: Tensor], into value: Tensor? = nil) throws(TemperError) -> Tensor {
    try run(given, .values, into: [value]) { (loss, _) throws(TemperError) in [loss.reduced(.none)] }[0]
  }

  /// How many values `evaluate` gives for these inputs.
  package func valueCount(_ given: [String: Tensor]) throws(TemperError) -> Int {
    do throws(TemperError) {
      let match = try Match(given, to: inputs)
      return isBatchLoss ? 1 : match.samples
    } catch { throw error.from(method.name) }
  }

  /// The reduced value, () or (N,), and the gradient of it, or of the sum of values, for each name in `wrt` (without
  /// it: for the first input that has one). Arrays given for the results receive them.
  package func valueAndGradient(
    _ given: [String: Tensor], reduction: LossReduction = .mean, wrt: [String]? = nil, value: Tensor? = nil,
    gradients: [String: Tensor] = [:]
  ) throws(TemperError) -> (value: Tensor, gradients: [String: Tensor]) {
    let wrt = try differentiable(wrt)
    let targets = [value] + wrt.map { gradients[$0] }
    let results = try run(given, .gradient(reduction, wrt), into: targets, shapesOf: wrt) {
      (loss, inputs) throws(TemperError) in
      let reduced = loss.reduced(reduction)
      return [reduced] + (try Differentiate.gradients(of: reduced, withRespectTo: inputs))
    }
    return (results[0], Dictionary(uniqueKeysWithValues: zip(wrt, results.dropFirst())))
  }

  /// The Hessian of the reduced value, or of the sum of values, times directions, one for each input named in them.
  package func hessianVectorProduct(
    _ given: [String: Tensor], directions: [String: Tensor], reduction: LossReduction = .mean
  ) throws(TemperError) -> [String: Tensor] {
    let wrt = try differentiable(directions.keys.sorted())
    var all = given
    for name in wrt { all["direction of " + name] = directions[name] }
    let extra = wrt.compactMap { name in
      inputs.first { $0.name == name }.map { Input("direction of " + name, $0.forms, "A direction.") }
    }
    let results = try run(
      all, .curvature(reduction, wrt), into: wrt.map { _ in nil }, shapesOf: wrt, hasValue: false, extra: extra
    ) { (loss, inputs) throws(TemperError) in
      let directions = zip(wrt, inputs).map { Expression.input("direction of " + $0, $1.shape) }
      return try Differentiate.hessianVectorProducts(
        of: loss.reduced(reduction == .none ? .sum : reduction), withRespectTo: inputs, directions: directions)
    }
    return Dictionary(uniqueKeysWithValues: zip(wrt, results))
  }

  /// What the state by sample becomes after this batch, from the state given (or its initial value).
  package func updatedState(_ given: [String: Tensor], into arrays: [String: Tensor] = [:]) throws(TemperError)
    -> [String: Tensor]
  {
    let names = method.state.map(\.name)
    guard !names.isEmpty else { throw TemperError(.unsupported, "This loss keeps no state.", origin: method.name) }
    let results = try run(given, .state(names), into: names.map { arrays[$0] }, hasValue: false) {
      (loss, _) throws(TemperError) in
      var values: [Expression] = []
      for name in names {
        guard let update = loss.updates.first(where: { $0.name == name }) else {
          throw TemperError(.internalFault, "The state \(name) is declared but never updated.")
        }
        values.append(update.value)
      }
      return values
    }
    return Dictionary(uniqueKeysWithValues: zip(names, results))
  }

  /// The loss over expressions, under the shapes of `Input`; (N,) also comes as (N, 1). `samples` holds the state of
  /// the batch's samples, `numbers` stand for parameters, where the loss lets them, in place of those of `moved`.
  package func build(
    _ given: [String: Expression], samples: [String: Expression] = [:], numbers: [String: Expression] = [:],
    moved: Arguments? = nil
  ) throws(TemperError) -> LossExpression {
    guard case .loss = method.implementation else {
      throw TemperError(.internalFault, "\(method.name) is no loss.")
    }
    let arguments = moved ?? arguments
    var given = given
    let (weights, mask) = (given.removeValue(forKey: "sample_weights"), given.removeValue(forKey: "sample_mask"))
    let own = Set(method.inputs.map(\.name))
    if own.contains("sample_weights") { given["sample_weights"] = weights }
    let sizes = try Sizes(of: given, for: method.inputs, origin: method.name)
    var samples = samples
    for state in method.state where samples[state.name] == nil {
      samples[state.name] = try state.initialValue(sizes, state.initialValue(arguments))
    }
    let formula = Formula(arguments: arguments, inputs: given, samples: samples, numbers: numbers)
    var values = try method.value(formula)
    if let error = values.error { throw error.from(method.name) }
    var counted = formula.excluded.map { not($0) }
    if let mask, !own.contains("sample_mask") {
      values = .select(mask, values, .constant(0))
      counted = counted.map { $0 .& mask } ?? mask
    }
    if let weights, !own.contains("sample_weights") { values = values * weights }
    return LossExpression(values: values, counted: counted, updates: formula.updates, live: formula.live)
  }

  private func differentiable(_ names: [String]?) throws(TemperError) -> [String] {
    let possible = inputs.filter(\.isDifferentiable)
    guard let names else {
      guard let first = possible.first else {
        throw TemperError(.unsupported, "This loss has no gradient.", origin: method.name)
      }
      return [first.name]
    }
    var resolved: [String] = []
    for name in names {
      guard let input = possible.first(where: { $0.name == name || $0.aliases.contains(name) }) else {
        throw TemperError(
          .unknownName,
          "There is no gradient for \"\(name)\"; there is one for \(possible.map(\.name).joined(separator: ", ")).",
          origin: method.name)
      }
      guard !resolved.contains(input.name) else {
        throw TemperError(.invalidArgument, "The gradient for \(name) was asked for twice.", origin: method.name)
      }
      resolved.append(input.name)
    }
    return resolved
  }

  /// Runs the outputs that `make` builds from the loss and the expressions of the inputs in `wrt`.
  private func run(
    _ given: [String: Tensor], _ goal: Goal, into arrays: [Tensor?], shapesOf wrt: [String] = [],
    hasValue: Bool = true, extra: [Input] = [],
    _ make: (LossExpression, [Expression]) throws(TemperError) -> [Expression]
  ) throws(TemperError) -> [Tensor] {
    do throws(TemperError) {
      let match = try Match(given, to: inputs + extra)
      try method.check?(match.tensors, arguments)
      for name in wrt {
        guard let entry = match.entries.first(where: { $0.input.name == name }), entry.kind == .real else {
          throw TemperError(
            .invalidType, "The gradient for \(name) was asked for; pass \(name) as an array of floats.")
        }
      }
      let call = try cache.call(for: match, goal) { () throws(TemperError) in
        let expressions = match.expressions
        let samples = expressions.filter { name, _ in method.state.contains { $0.name == name } }
        let loss = try build(expressions.filter { samples[$0.key] == nil }, samples: samples)
        let outputs = try make(loss, wrt.compactMap { expressions[$0] })
        return try PreparedCall(outputs, type: match.type, workers: workers)
      }
      var targets: [PreparedCall.Target] = []
      let shapes = call.outputShapes
      for (index, array) in arrays.enumerated() {
        let at = index - (hasValue ? 1 : 0)
        let name = at < 0 ? "the value" : wrt.isEmpty ? "the state" : "the gradient for \(wrt[at])"
        var shape =
          at >= 0 && !wrt.isEmpty ? match.entries.first { $0.input.name == wrt[at] }?.tensor.shape : nil
        // State that is one number for each sample comes as (N,), as it is given.
        if case .state(let names) = goal, method.state.first(where: { $0.name == names[index] })?.shape.isEmpty == true
        {
          shape = [shapes[index].count]
        }
        targets.append(.init(shape: shape ?? shapes[index], tensor: array, name: name))
      }
      return try call.run(match, ignored: ignored, targets: targets)
    } catch { throw error.from(method.name) }
  }
}

extension Method {
  /// The value by sample of a loss, with ignored targets excluded.
  func value(_ formula: Formula) throws(TemperError) -> Expression {
    guard case .loss(let make) = implementation else {
      throw TemperError(.invalidArgument, "\"\(name)\" is of kind \(kind.rawValue), not a loss.")
    }
    let value = try make(formula)
    guard case .integer(let ignored)? = formula.arguments.values["ignore_index"], formula.has("targets"),
      formula.targets.kind == .index
    else { return value }
    let skip = formula.targets .== Double(ignored)
    formula.exclude(skip)
    return .select(skip, .constant(0), value)
  }

  /// State by sample comes as an optional input in single calls.
  var stateInputs: [Input] {
    state.map {
      Input($0.name, [.init(["N"] + $0.shape)], isOptional: true, isDifferentiable: false, $0.summary)
    }
  }
}

extension Input {
  /// What every loss by sample accepts.
  static func sampleExtras(besides own: [Input]) -> [Input] {
    [
      Input(
        "sample_weights", [Form(["N"])], isOptional: true, isDifferentiable: true,
        "Factors of the values by sample; the mean still divides by the number of samples."),
      Input(
        "sample_mask", [Form(["N"], .mask)], isOptional: true, isDifferentiable: false,
        "0 leaves a sample out, also of the mean's denominator."),
    ].filter { extra in !own.contains { $0.name == extra.name } }
  }
}

extension Arguments {
  /// Ids that may stand for "no target".
  var ignoredIds: Set<Int> {
    var ids = Set<Int>()
    for (name, value) in values where name == "ignore_index" || name.hasSuffix(".ignore_index") {
      if case .integer(let id) = value { ids.insert(id) }
    }
    return ids
  }
}

extension SampleState {
  /// The initial value for a batch: its sizes are read from the inputs that came.
  func initialValue(_ sizes: Sizes, _ value: Double) throws(TemperError) -> Expression {
    guard let shape = sizes.shape(["N"] + (self.shape.isEmpty ? ["1"] : self.shape)) else {
      throw TemperError(.internalFault, "The state \(name) has sizes that no input names.")
    }
    return .constant(value, shape)
  }
}
