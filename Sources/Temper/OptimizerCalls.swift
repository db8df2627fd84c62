import CTemper
import TemperCatalogue
import TemperCore

extension OptimizerInstance: Handled { static var kind: HandleKind { .optimizer } }

private func optimizer(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> OptimizerInstance {
  unsafe try Handles.all.value(handle, argument: argument)
}

@implementation @c public func temper_optimizer_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 1)
    let (method, arguments) = unsafe try context.method(name, kinds: [.optimizer], params, paramCount)
    return try OptimizerInstance(method, arguments, workers: context.workers)
  }
}

@implementation @c public func temper_optimizer_step(
  _ handle: OpaquePointer?, _ parameters: UnsafePointer<OpaquePointer?>?, _ gradients: UnsafePointer<OpaquePointer?>?,
  _ count: UInt64, _ learningRate: Double, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let optimizer = unsafe try optimizer(handle, 0)
    let parameters = unsafe try tensors(parameters, count, "parameters", 1)
    let gradients = unsafe try tensors(gradients, count, "gradients", 2)
    for (index, parameter) in parameters.enumerated() {
      try parameter.writable("parameters[\(index)]", 1)
    }
    try Tensor.apart(written: parameters, read: gradients)
    guard !learningRate.isInfinite else {
      throw TemperError(.notFinite, "`learning_rate` is infinite.", argument: 4)
    }
    try optimizer.step(parameters, gradients, learningRate: learningRate.isNaN ? nil : learningRate)
  }
}

private func tensors(
  _ pointer: UnsafePointer<OpaquePointer?>?, _ count: UInt64, _ name: String, _ argument: Int32
) throws(TemperError) -> [Tensor] {
  unsafe try list(pointer, count, name, argument) { handle throws(TemperError) in unsafe try tensor(handle, argument) }
}

extension Tensor {
  /// Sorted by address, neighbours tell whether anything written overlaps anything else.
  fileprivate static func apart(written: [Tensor], read: [Tensor]) throws(TemperError) {
    let spans =
      (written.map { (bytes: $0.bytes, isWritten: true) } + read.map { (bytes: $0.bytes, isWritten: false) })
      .filter { !$0.bytes.isEmpty }.sorted { $0.bytes.lowerBound < $1.bytes.lowerBound }
    var (furthest, furthestWritten): (UInt, UInt) = (0, 0)
    for span in spans {
      let limit = span.isWritten ? furthest : furthestWritten
      if span.bytes.lowerBound < limit {
        throw TemperError(
          .invalidArgument, "A parameter overlaps another parameter or a gradient in memory.", argument: 1)
      }
      furthest = Swift.max(furthest, span.bytes.upperBound)
      if span.isWritten { furthestWritten = Swift.max(furthestWritten, span.bytes.upperBound) }
    }
  }
}

@implementation @c public func temper_optimizer_get_state(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let optimizer = unsafe try optimizer(handle, 1)
    guard optimizer.step > 0 else { return try TensorMap([]) }
    var entries: [(name: String, tensor: Tensor)] = [("step", try Tensor([Int64(optimizer.step)], shape: []))]
    for state in optimizer.stateDictionary { entries.append((state.name, try state.tensor.copy())) }
    return try TensorMap(entries)
  }
}

@implementation @c public func temper_optimizer_set_state(
  _ handle: OpaquePointer?, _ state: UnsafePointer<temper_named_tensor>?, _ stateCount: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let optimizer = unsafe try optimizer(handle, 0)
    let entries = unsafe try named(state, stateCount, "state", 1)
    guard let step = entries.first(where: { $0.name == "step" })?.tensor, step.dtype == .int64, step.count == 1,
      let count = try step.array(of: Int64.self).first
    else {
      throw TemperError(.invalidArgument, "A state has an entry \"step\": one int64 number.", argument: 1)
    }
    try located(1) { () throws(TemperError) in
      try optimizer.load(step: Int(count), entries.filter { $0.name != "step" })
    }
  }
}

@implementation @c public func temper_optimizer_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, OptimizerInstance.self)
}
