import TemperCore
import TemperGraph

/// A plan for one signature of a method, with its memory: later calls of the same shapes allocate no arrays.
final class PreparedCall {
  private let execution: Execution
  /// Inputs converted to what the plan reads.
  private var staging: [String: Tensor] = [:]
  /// Results that cannot be written straight to where the caller wants them.
  private var results: [Int: Tensor] = [:]

  init(_ outputs: [Expression], type: DType, workers: Workers) throws(TemperError) {
    execution = try Execution(try Plan(outputs.map { Output($0) }, type: type), workers: workers)
  }

  var outputShapes: [Shape] { execution.plan.outputs.map(\.expression.shape) }

  /// Where one output goes: the array's own shape, the caller's array if there is one, and its permutation.
  struct Target {
    let shape: Shape
    let tensor: Tensor?
    let name: String
    var axis = -1
    /// Whole numbers, which an array of integers may hold.
    var isWhole = false

    /// The caller's array must have the shape, an element type for the result, and memory that may be written.
    func check() throws(TemperError) {
      guard let given = tensor else { return }
      let fits = given.dtype.isFloating || isWhole && (given.dtype == .int32 || given.dtype == .int64)
      guard given.shape == shape, fits else {
        throw TemperError(
          fits ? .invalidShape : .invalidType,
          "The array for \(name) must hold \(isWhole ? "floats, int32 or int64" : "floats") of shape \(shape); \(given.dtype.name) of shape \(given.shape) came."
        )
      }
      guard !given.isReadOnly else {
        throw TemperError(.invalidArgument, "The array for \(name) is read-only; pass one that may be written.")
      }
    }
  }

  /// Binds the entries of `match` and runs. Gives the arrays in which the outputs are.
  func run(_ match: Match, ignored: Set<Int>, targets: [Target]) throws(TemperError) -> [Tensor] {
    let needed = Set(execution.plan.inputs.map { $0.name })
    for entry in match.entries {
      try entry.check(ignored: ignored)
      try entry.input.checkDomain(entry.tensor)
      guard needed.contains(entry.input.name) else { continue }
      if entry.isMaskOfBytes, try execution.bind(bytes: entry.tensor, to: entry.input.name) { continue }
      try execution.bind(entry.input.name, to: try converted(entry))
    }
    var arrays: [Tensor] = []
    var copies: [(from: Int, to: Tensor)] = []
    for (index, target) in targets.enumerated() {
      let planned = execution.plan.outputs[index].expression.shape
      try target.check()
      let whole: Tensor
      if let given = target.tensor {
        whole = given
      } else {
        whole = try Tensor(zeros: target.shape, execution.plan.type)
      }
      let array = target.axis == -1 ? whole : try whole.movingToEnd(target.axis, of: target.name)
      let reads = match.entries.contains { $0.tensor.overlaps(array) }
      if array.isDense, array.dtype == execution.plan.type, !reads {
        try execution.bind(output: index, to: try array.reshaped(planned))
      } else {
        let own = try PreparedCall.array(&results[index], planned, execution.plan.type)
        try execution.bind(output: index, to: own)
        copies.append((index, array))
      }
      arrays.append(whole)
    }
    try execution.run()
    for copy in copies {
      if let own = results[copy.from] { try copy.to.assign(from: try own.reshaped(copy.to.shape)) }
    }
    return arrays
  }

  /// The array kept in `slot`, made at its first use.
  private static func array(_ slot: inout Tensor?, _ shape: Shape, _ type: DType) throws(TemperError) -> Tensor {
    if let kept = slot { return kept }
    let made = try Tensor(zeros: shape, type)
    slot = made
    return made
  }

  /// Dense, of the plan's type (int32 for ids), under the formula's shape.
  private func converted(_ entry: Match.Entry) throws(TemperError) -> Tensor {
    let type = entry.kind == .index ? DType.int32 : execution.plan.type
    if entry.tensor.dtype == type, entry.tensor.isDense { return try entry.tensor.reshaped(entry.innerShape) }
    let stage = try PreparedCall.array(&staging[entry.input.name], entry.tensor.shape, type)
    try stage.assign(from: entry.tensor)
    return try stage.reshaped(entry.innerShape)
  }
}

/// The prepared calls of one instance, the least recently used one leaving first.
struct PlanCache<Goal: Hashable> {
  struct Key: Hashable {
    let type: DType
    let signature: [SignatureEntry]
    let goal: Goal
  }

  private static var capacity: Int { 16 }
  private var slots: [(key: Key, call: PreparedCall)] = []

  mutating func call(
    for match: Match, _ goal: Goal, make: () throws(TemperError) -> PreparedCall
  ) throws(TemperError) -> PreparedCall {
    let key = Key(type: match.type, signature: match.signature, goal: goal)
    if let at = slots.firstIndex(where: { $0.key == key }) {
      let slot = slots.remove(at: at)
      slots.append(slot)
      return slot.call
    }
    let call = try make()
    if slots.count == PlanCache.capacity { slots.removeFirst() }
    slots.append((key, call))
    return call
  }
}
