import TemperCore
import TemperGraph

/// An optimizer at work on arrays: plans made once for each shape, memory bound once, then steps that neither look
/// anything up nor allocate. For optimizers used alone and for trainers.
package final class UpdateEngine {
  /// A parameter and its gradient: dense, of one shape and one floating type.
  package struct Part {
    package let parameter: Tensor
    package let gradient: Tensor
    /// Which of the sets of arguments it follows.
    package let group: Int
    package init(_ parameter: Tensor, _ gradient: Tensor, group: Int = 0) {
      (self.parameter, self.gradient, self.group) = (parameter, gradient, group)
    }
  }

  /// The loss and the gradients at the parameters as they now stand, written to the gradients' memory; the value is the
  /// factor that the gradients are to be clipped with.
  package typealias Evaluate = () throws(TemperError) -> Double

  private struct Key: Hashable {
    let shape: Shape
    let type: DType
    let group: Int
  }

  /// Not a tuple: calling a function out of an array of tuples allocates.
  private struct Number {
    let tensor: Tensor
    let name: String
    let value: (@Sendable (StepNumbers) -> Double)?
  }

  /// Numbers of one group in one type, bound by all its plans.
  private final class Numbers {
    let group: Int
    var tensors: [String: Tensor] = [:]
    /// By level: what its plans read.
    var read: [[Number]]
    init(_ group: Int, levels: Int) { (self.group, read) = (group, Array(repeating: [], count: levels)) }
  }

  /// One parameter with its memory.
  private final class Bound {
    var part: Part
    let plans: UpdatePlans
    let numbers: Numbers
    let states: [Tensor]
    let executions: [Execution]
    /// Of the update itself.
    let update: Execution
    /// The parameter before the first step away from it.
    let origin: Tensor?
    let kept: [String: Tensor]
    /// Of random numbers, where the rule draws any.
    let clock: Tensor?
    let key: UInt64

    init(
      _ part: Part, _ plans: UpdatePlans, _ numbers: Numbers, states: [Tensor], executions: [Execution],
      origin: Tensor?, kept: [String: Tensor], clock: Tensor?, key: UInt64
    ) {
      (self.part, self.plans, self.numbers, self.states, self.executions) = (part, plans, numbers, states, executions)
      (self.origin, self.kept, self.clock, self.key) = (origin, kept, clock, key)
      update = executions[executions.count - 1]
    }
  }

  package let method: Method
  /// The number of each part among the caller's parameters.
  package let positions: [Int]
  private let groups: [Arguments]
  private let workers: Workers
  private var parts: [Bound] = []
  /// The updates of many small parts run together, those of the others one by one.
  private var sweeps: [Sweep] = []
  private var others: [Execution] = []
  private var numbers: [Numbers] = []
  /// The first execution of each plan, whose scratch memory the others use.
  private var lenders: [ObjectIdentifier: Execution] = [:]
  private let levels: Int
  private var isRandom = false
  private let stages: [UpdateStage]
  /// What is kept beside arrays, by group.
  package private(set) var scalars: [[(name: String, value: Double)]] = [] {
    didSet {
      for group in scalars.indices { for scalar in scalars[group] { known[group][scalar.name] = scalar.value } }
    }
  }
  /// What rules look up by name, by group, and the factors that clip gradients: kept, so that a step allocates nothing.
  private var known: [[String: Double]]
  private var scales: [String: Double] = [:]
  private let nextScalars: [[@Sendable (StepNumbers) -> Double]]
  package let needsClosure: Bool
  package let hasEvaluation: Bool

  package init(
    _ method: Method, _ groups: [Arguments], parts: [Part], positions: [Int]? = nil,
    clipping: GradientClipping = GradientClipping(), workers: Workers
  ) throws(TemperError) {
    (self.method, self.groups, self.workers) = (method, groups, workers)
    self.positions = positions ?? Array(parts.indices)
    let isElementwise = method.properties.contains("elementwise")
    var rules: [UpdateRule] = []
    for arguments in groups { rules.append(try UpdateRule(method, arguments, shape: [1], clipping: clipping)) }
    guard Set(rules.map { $0.stages.count }).count == 1 else {
      throw TemperError(
        .invalidArgument, "Groups may differ in numbers, not in what the method does; these need different passes.",
        origin: method.name)
    }
    levels = rules[0].stages.count + 1
    (stages, needsClosure, hasEvaluation) = (rules[0].stages, rules[0].needsClosure, rules[0].evaluation != nil)
    known = rules.map { Dictionary($0.scalars.map { ($0.name, $0.initial) }) { $1 } }
    scalars = rules.map { $0.scalars.map { ($0.name, $0.initial) } }
    nextScalars = rules.map { $0.scalars.map(\.next) }

    var made: [Key: UpdatePlans] = [:]
    var bound: [Bound] = []
    for (index, part) in parts.enumerated() {
      let shape: Shape = isElementwise ? [part.parameter.count] : part.parameter.shape
      let key = Key(shape: shape, type: part.parameter.dtype, group: part.group)
      let plans: UpdatePlans
      if let known = made[key] {
        plans = known
      } else {
        let rule = try UpdateRule(method, groups[part.group], shape: shape, type: key.type, clipping: clipping)
        plans = try UpdatePlans(rule, key.type)
        made[key] = plans
      }
      bound.append(try bind(part, plans, self.positions[index]))
    }
    self.parts = bound
    try joinSmall()
    reset()
  }

  /// Puts the updates of small parts of one group and type together.
  private func joinSmall() throws(TemperError) {
    var small: [Key: [Execution]] = [:]
    for bound in parts {
      let key = Key(shape: [], type: bound.part.parameter.dtype, group: bound.part.group)
      if bound.part.parameter.count > 1, bound.part.parameter.count <= Sweep.longest {
        small[key, default: []].append(bound.update)
      } else {
        others.append(bound.update)
      }
    }
    for executions in small.values {
      if executions.count > 1, let sweep = try Sweep(executions, workers: workers) {
        sweeps.append(sweep)
      } else {
        others += executions
      }
    }
  }

  // MARK: memory

  private func bind(_ part: Part, _ plans: UpdatePlans, _ index: Int) throws(TemperError) -> Bound {
    let type = part.parameter.dtype
    var states: [Tensor] = []
    for state in plans.rule.states {
      // State of the parameter's shape is kept under the parameter's own, also where a rule sees it flat.
      let isLike = state.shape.count == part.parameter.count && plans.rule.parameter.shape == state.shape
      states.append(try Tensor(zeros: isLike ? part.parameter.shape : state.shape, type))
    }
    let numbers = try numbers(of: part.group, type, plans)
    var kept: [String: Tensor] = [:]
    for name in plans.keptGradients { kept[name] = try Tensor(zeros: part.parameter.shape, type) }
    var executions: [Execution] = []
    for plan in plans.levels {
      let execution = try Execution(plan, workers: workers, sharing: lenders[ObjectIdentifier(plan)])
      if lenders[ObjectIdentifier(plan)] == nil { lenders[ObjectIdentifier(plan)] = execution }
      executions.append(execution)
    }
    let seed = groups[part.group].values["seed"].flatMap { if case .integer(let seed) = $0 { seed } else { nil } } ?? 0
    let isRandom = plans.levels.contains { $0.inputs.contains { $0.name == "clock" } }
    self.isRandom = self.isRandom || isRandom
    let bound = Bound(
      part, plans, numbers, states: states, executions: executions,
      origin: plans.firstAway == nil ? nil : try Tensor(zeros: part.parameter.shape, type), kept: kept,
      clock: isRandom ? try Tensor(zeros: [4], .int32) : nil,
      key: Random(seed: UInt64(bitPattern: Int64(seed)), stream: "update").stream(index).key)
    try connect(bound)
    return bound
  }

  /// The tensors of the numbers that these plans read.
  private func numbers(of group: Int, _ type: DType, _ plans: UpdatePlans) throws(TemperError) -> Numbers {
    let found = numbers.first { $0.group == group && $0.tensors.first?.value.dtype ?? type == type }
    let numbers = found ?? Numbers(group, levels: levels)
    if found == nil { self.numbers.append(numbers) }
    for (level, plan) in plans.levels.enumerated() {
      for input in plan.inputs where input.name.hasPrefix("number.") {
        let name = String(input.name.dropFirst("number.".count))
        let tensor: Tensor
        if let known = numbers.tensors[name] { tensor = known } else { tensor = try Tensor(zeros: [], type) }
        numbers.tensors[name] = tensor
        if !numbers.read[level].contains(where: { $0.name == name }) {
          // Those without a rule are factors that clip gradients.
          let value = plans.rule.numbers.first { $0.name == name }?.value
          numbers.read[level].append(Number(tensor: tensor, name: name, value: value))
        }
      }
    }
    return numbers
  }

  private func connect(_ bound: Bound) throws(TemperError) {
    for level in bound.executions.indices {
      let execution = bound.executions[level]
      for input in execution.plan.inputs { try execution.bind(input.name, to: try memory(input.name, level, bound)) }
      if level == levels - 1 {
        let targets =
          [("parameter", bound.part.parameter)]
          + zip(bound.plans.rule.states, bound.states).map { ("state." + $0.name, $1) }
        for (index, target) in targets.enumerated() where !bound.plans.updatedInPlace.contains(target.0) {
          try execution.bind(output: index, to: target.1)
        }
      } else if stages[level].isGradient {
        try execution.bind(output: 0, to: bound.part.parameter)
      }
    }
  }

  private func memory(_ name: String, _ level: Int, _ bound: Bound) throws(TemperError) -> Tensor {
    if name == "parameter" {
      if let origin = bound.origin, let first = bound.plans.firstAway, level >= first { return origin }
      return bound.part.parameter
    }
    if name == "clock", let clock = bound.clock { return clock }
    if name == bound.plans.presentGradients[level] { return bound.part.gradient }
    if let kept = bound.kept[name] { return kept }
    if name.hasPrefix("number."), let tensor = bound.numbers.tensors[String(name.dropFirst("number.".count))] {
      return tensor
    }
    if let index = bound.plans.rule.states.firstIndex(where: { "state." + $0.name == name }) {
      return bound.states[index]
    }
    throw TemperError(.internalFault, "The rule reads \"\(name)\", which nothing provides.", origin: method.name)
  }

  /// The same parameters in other memory: shapes, types and groups are those of before.
  package func rebind(_ new: [Part]) throws(TemperError) {
    for (index, part) in new.enumerated() where !parts[index].part.isSame(as: part) {
      parts[index].part = part
      try connect(parts[index])
    }
    for sweep in sweeps { sweep.memoryChanged() }
  }

  /// State as at the beginning.
  private func reset() {
    for bound in parts {
      for (state, tensor) in zip(bound.plans.rule.states, bound.states) {
        switch state.start {
        case .value(let value): tensor.setAll(value)
        case .parameter: tensor.copyBytes(from: bound.part.parameter)
        case .identity(let value): tensor.setDiagonal(value)
        }
      }
    }
  }

  /// State of every parameter, by name, in order.
  package var states: [[(name: String, tensor: Tensor)]] {
    parts.map { bound in zip(bound.plans.rule.states, bound.states).map { ($0.name, $1) } }
  }

  package func setScalars(_ values: [[(name: String, value: Double)]]) { scalars = values }

  // MARK: steps

  /// One step. `rate`: the learning rate of a group. `scale`: what clips the gradients that are there. `evaluate` is
  /// called for further gradients. If it fails, parameters and state are as before.
  package func run(
    step: Int, rate: (_ group: Int) -> Double, scale: Double = 1, evaluate: Evaluate? = nil
  ) throws(TemperError) {
    for arguments in groups { try arguments.checkSchedules(step: step - 1, of: method.parameters) }
    scales["gradient_scale"] = scale
    var isAway = false
    if isRandom { for bound in parts { bound.clock?.setWords(bound.key, UInt64(step)) } }
    func environment(_ group: Int) -> StepNumbers {
      StepNumbers(step: step, learningRate: rate(group), values: known[group])
    }
    func set(_ name: String, _ value: Double) { for group in known.indices { known[group][name] = value } }
    do throws(TemperError) {
      for (level, stage) in stages.enumerated() {
        setNumbers(level, environment)
        switch stage {
        case .totals(let names):
          for bound in parts { try bound.executions[level].run() }
          for (index, total) in names.enumerated() {
            set(total.name, parts.reduce(0) { $0 + $1.executions[level].output(index).scalar })
          }
        case .gathered(let name, _, let isWanted, let make):
          guard isWanted?(environment(0)) ?? true else {
            set(name, .nan)
            continue
          }
          var arrays: [Tensor] = []
          for bound in parts {
            try bound.executions[level].run()
            arrays.append(bound.executions[level].output(0))
          }
          set(name, try make(arrays))
        case .gradient(let name, _, let isWanted):
          if !isAway { for bound in parts { bound.origin?.copyBytes(from: bound.part.parameter) } }
          isAway = true
          for bound in parts {
            bound.kept[bound.plans.presentGradients[level]]?.copyBytes(from: bound.part.gradient)
          }
          guard isWanted?(environment(0)) ?? true else { continue }
          guard let evaluate else {
            throw TemperError(
              .invalidArgument, "A step takes the gradient at other points too: it needs a closure that computes it.")
          }
          for bound in parts { try bound.executions[level].run() }
          scales["gradient_scale." + name] = try evaluate()
        }
      }
      setNumbers(levels - 1, environment)
      for sweep in sweeps { try sweep.run() }
      for execution in others { try execution.run() }
    } catch {
      if isAway { for bound in parts { if let origin = bound.origin { bound.part.parameter.copyBytes(from: origin) } } }
      throw error
    }
    for group in scalars.indices where !scalars[group].isEmpty {
      let numbers = environment(group)
      scalars[group] = zip(scalars[group], nextScalars[group]).map { ($0.name, $1(numbers)) }
    }
  }

  private func setNumbers(_ level: Int, _ environment: (Int) -> StepNumbers) {
    for group in numbers where !group.read[level].isEmpty {
      let known = environment(group.group)
      for number in group.read[level] {
        number.tensor.store(number.value?(known) ?? scales[number.name] ?? scales["gradient_scale"] ?? 1)
      }
    }
  }

  /// Where the model should be evaluated, written to arrays like the parameters.
  package func evaluationPoint(into targets: [Tensor]) throws(TemperError) {
    for (bound, target) in zip(parts, targets) {
      guard let plan = bound.plans.evaluation else {
        target.copyBytes(from: bound.part.parameter)
        continue
      }
      let execution = try Execution(plan, workers: workers)
      for input in plan.inputs {
        let isParameter = input.name == "parameter"
        try execution.bind(
          input.name, to: isParameter ? bound.part.parameter : try memory(input.name, levels - 1, bound))
      }
      try execution.bind(output: 0, to: target)
      try execution.run()
    }
  }
}

extension UpdateEngine.Part {
  /// Whether it is the same memory.
  fileprivate func isSame(as other: UpdateEngine.Part) -> Bool {
    parameter.isSameMemory(as: other.parameter) && gradient.isSameMemory(as: other.gradient)
  }
}
