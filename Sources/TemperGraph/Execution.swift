import TemperCore
import TemperKernels

/// A plan with its memory: bind arrays, run, read. Used by one thread at a time; runs its pieces on the workers.
package final class Execution {
  package let plan: Plan
  private let workers: Workers
  private let arena: Storage
  private var inputs: [Tensor?]
  private var outputs: [Tensor?]
  private var runners: [any Runner] = []
  private let scratch: Scratch
  private let multiplications: Int
  private var isResolved = false

  /// `sharing`: another execution of the plan, which never runs at the same time, lends its scratch memory: many small
  /// ones then stay in the cache.
  package init(_ plan: Plan, workers: Workers, sharing other: Execution? = nil) throws(TemperError) {
    precondition(other.map { $0.plan === plan && $0.workers === workers } ?? true)
    self.plan = plan
    self.workers = workers
    arena = try Storage(byteCount: plan.arenaBytes)
    inputs = Array(repeating: nil, count: plan.inputs.count)
    outputs = Array(repeating: nil, count: plan.outputs.count)
    runners = []
    for step in plan.steps { runners.append(try makeRunner(step, plan, workers)) }
    multiplications = runners.reduce(0) { $0 + $1.multiplications }
    if let other {
      scratch = other.scratch
    } else {
      scratch = try Scratch(
        shared: runners.map(\.workspaceBytes).max() ?? 0, each: runners.map(\.scratchBytes).max() ?? 0,
        workers: workers.count)
    }
  }

  package func inputIndex(_ name: String) -> Int? { plan.inputs.firstIndex { $0.name == name } }

  /// Inputs are dense: real ones of the plan's type, indices int32. Held until bound anew.
  package func bind(_ name: String, to tensor: Tensor) throws(TemperError) {
    guard let index = inputIndex(name) else {
      throw TemperError(.unknownName, "The plan has no input \"\(name)\".")
    }
    let input = plan.inputs[index]
    inputs[index] = try checked(tensor, "Input \"\(name)\"", input.shape, input.kind)
    isResolved = false
  }

  /// Where output `index` goes (dense, of the plan's type); without this, into memory of the execution's own.
  package func bind(output index: Int, to tensor: Tensor) throws(TemperError) {
    let expression = plan.outputs[index].expression
    outputs[index] = try checked(tensor, "Output \(index)", expression.shape, expression.kind)
    guard !tensor.isReadOnly else {
      throw TemperError(.invalidArgument, "Output \(index) needs memory that can be written; this is read-only.")
    }
    isResolved = false
  }

  /// Binds a mask of bytes, 0 or 1, to a real input; false where a step other than a row program reads it.
  package func bind(bytes tensor: Tensor, to name: String) throws(TemperError) -> Bool {
    guard let index = inputIndex(name), tensor.isDense, tensor.dtype.byteCount == 1,
      tensor.shape.count == plan.inputs[index].shape.count, plan.inputs[index].kind == .real,
      let buffer = plan.buffers.firstIndex(where: { $0.place == .input(index) })
    else { return false }
    for step in plan.steps where step.reads.contains(buffer) || step.writes.contains(buffer) {
      guard case .rows(let program) = step.work, !program.stored.contains(buffer) else { return false }
    }
    inputs[index] = tensor
    isResolved = false
    return true
  }

  private func checked(_ tensor: Tensor, _ name: String, _ shape: Shape, _ kind: Kind) throws(TemperError) -> Tensor {
    let type = kind == .index ? DType.int32 : plan.type
    guard tensor.shape.count == shape.count, tensor.dtype == type, tensor.isDense else {
      throw TemperError(
        .invalidShape,
        "\(name) takes a dense \(type.name) array of shape \(shape); \(tensor.dtype.name) of shape \(tensor.shape) came."
      )
    }
    return tensor
  }

  /// Finds out where everything lies; the first run does it too.
  func prepare() throws(TemperError) { if !isResolved { try resolve() } }

  /// The runner of a plan of one step.
  var onlyRunner: (any Runner)? { runners.count == 1 ? runners[0] : nil }

  package func run() throws(TemperError) {
    try prepare()
    Multiplications.add(multiplications)
    for runner in runners { try runner.run(workers, scratch) }
  }

  /// The result of the last run; valid until the next one (an in-place output is the input's own memory).
  package func output(_ index: Int) -> Tensor {
    if let name = plan.outputs[index].inPlaceOf, let input = inputIndex(name), let tensor = inputs[input] {
      return tensor
    }
    guard let tensor = outputs[index] else { preconditionFailure("read before the first run") }
    return tensor
  }

  private func resolve() throws(TemperError) {
    for (index, input) in plan.inputs.enumerated() where inputs[index] == nil {
      throw TemperError(.wrongState, "Input \"\(input.name)\" has not been bound.")
    }
    for (index, output) in plan.outputs.enumerated() where outputs[index] == nil && output.inPlaceOf == nil {
      let type = output.expression.kind == .index ? DType.int32 : plan.type
      outputs[index] = try Tensor(zeros: output.expression.shape, type)
    }
    var memory: [Memory] = []
    for buffer in plan.buffers {
      switch buffer.place {
      case .arena(let offset):
        memory.append(
          Memory(storage: arena, byteOffset: min(offset, arena.byteCount), kind: buffer.kind, type: plan.type))
      case .input(let index):
        memory.append(
          Memory(
            storage: inputs[index]!.storage, byteOffset: inputs[index]!.byteOffset, kind: buffer.kind,
            type: buffer.kind == .index ? plan.type : inputs[index]!.dtype))
      case .output(let index):
        memory.append(
          Memory(
            storage: outputs[index]!.storage, byteOffset: outputs[index]!.byteOffset, kind: buffer.kind, type: plan.type
          ))
      }
    }
    for runner in runners { try runner.resolve(memory) }
    isResolved = true
  }
}

/// Where a buffer lies in this execution.
struct Memory {
  let storage: Storage
  let byteOffset: Int
  let kind: Kind
  /// The plan's; that of bytes for a mask that came as such.
  let type: DType

  var elementType: DType { kind == .index ? .int32 : type }

  @unsafe func pointer(_ offset: Int = 0) -> UnsafeMutableRawPointer {
    unsafe storage.base + byteOffset + offset * elementType.byteCount
  }

  /// A dense view as a tensor.
  func tensor(_ view: View) throws(TemperError) -> Tensor {
    try Tensor(
      storage: storage, byteOffset: byteOffset + view.offset * elementType.byteCount, dtype: elementType,
      shape: Shape(view.sizes), strides: Shape(view.sizes).denseStrides)
  }
}

/// Memory that steps use while they run: one part that all workers share, one for each worker.
@safe final class Scratch {
  let shared: Storage
  private let each: Storage
  private let stride: Int

  init(shared: Int, each: Int, workers: Int) throws(TemperError) {
    self.shared = try Storage(byteCount: shared)
    stride = (each + 63) & ~63
    self.each = try Storage(byteCount: stride * workers)
  }

  @unsafe func pointer(of worker: Int) -> UnsafeMutableRawPointer { unsafe each.base + stride * worker }
}

/// A step made ready to run: kernel arguments that are filled in when memory is bound.
protocol Runner: AnyObject {
  var workspaceBytes: Int { get }
  var scratchBytes: Int { get }
  /// Of a matrix product or a convolution.
  var multiplications: Int { get }
  func resolve(_ memory: [Memory]) throws(TemperError)
  func run(_ workers: Workers, _ scratch: Scratch) throws(TemperError)
}

extension Runner {
  var workspaceBytes: Int { 0 }
  var scratchBytes: Int { 0 }
  var multiplications: Int { 0 }
}

func makeRunner(_ step: Step, _ plan: Plan, _ workers: Workers) throws(TemperError) -> any Runner {
  let type = plan.type
  return switch step.work {
  case .rows(let program): RowRunner(program, type)
  case .matmul(let product): MatrixProductRunner(product, step.writes[0], type)
  case .kernel(let operation, let inputs, let output):
    try makeKernelRunner(operation, inputs, output, (plan.buffers[inputs[0].root].kind, type))
  case .external(let function, let inputs, let outputs): ExternalRunner(function, inputs, outputs)
  case .custom(let custom, let inputs, let outputs):
    CustomRunner(try custom.prepare(type, workers), inputs, outputs)
  }
}
