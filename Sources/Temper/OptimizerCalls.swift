import CTemper
import TemperCatalogue
import TemperCore

/// An optimizer, and the handles of the arrays that it last moved: those are known again without a look at the arrays.
final class CalledOptimizer: Handled {
  static var kind: HandleKind { .optimizer }
  let optimizer: OptimizerInstance
  fileprivate var last: (parameters: HeldHandles, gradients: HeldHandles)?
  init(_ optimizer: OptimizerInstance) { self.optimizer = optimizer }
}

private func optimizer(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> OptimizerInstance {
  unsafe try Handles.all.value(handle, as: CalledOptimizer.self, argument: argument).optimizer
}

@implementation @c public func temper_optimizer_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 1)
    let (method, arguments) = unsafe try context.method(name, kinds: [.optimizer], params, paramCount)
    return CalledOptimizer(try OptimizerInstance(method, arguments, workers: context.workers))
  }
}

@implementation @c public func temper_optimizer_step(
  _ handle: OpaquePointer?, _ parameters: UnsafePointer<OpaquePointer?>?, _ gradients: UnsafePointer<OpaquePointer?>?,
  _ count: UInt64, _ learningRate: Double, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let called = unsafe try Handles.all.value(handle, as: CalledOptimizer.self, argument: 0)
    let optimizer = called.optimizer
    guard !learningRate.isInfinite else {
      throw TemperError(.notFinite, "`learning_rate` is infinite.", argument: 4)
    }
    let rate = learningRate.isNaN ? nil : learningRate
    if let last = called.last, let parameters = unsafe parameters, let gradients = unsafe gradients,
      let count = Int(exactly: count), unsafe Handles.all.are(parameters, count, last.parameters),
      unsafe Handles.all.are(gradients, count, last.gradients), try optimizer.stepAgain(learningRate: rate)
    {
      return
    }
    called.last = nil
    let moved = unsafe try tensors(parameters, count, "parameters", 1)
    let slopes = unsafe try tensors(gradients, count, "gradients", 2)
    if !optimizer.isBound(to: moved, slopes) {
      for (index, parameter) in moved.enumerated() { try parameter.writable("parameters[\(index)]", 1) }
      try Tensor.apart(written: moved, read: slopes)
    }
    try optimizer.step(moved, slopes, learningRate: rate)
    if let parameters = unsafe parameters, let gradients = unsafe gradients {
      called.last = unsafe (Handles.all.hold(parameters, moved.count), Handles.all.hold(gradients, moved.count))
    }
  }
}

@implementation @c public func temper_optimizer_step_closure(
  _ loss: UnsafeMutablePointer<Double>?, _ handle: OpaquePointer?, _ parameters: UnsafePointer<OpaquePointer?>?,
  _ gradients: UnsafePointer<OpaquePointer?>?, _ count: UInt64, _ learningRate: Double,
  _ closure: temper_closure_function?, _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let called = unsafe try Handles.all.value(handle, as: CalledOptimizer.self, argument: 1)
    called.last = nil
    let optimizer = called.optimizer
    let parameters = unsafe try tensors(parameters, count, "parameters", 2)
    let gradients = unsafe try tensors(gradients, count, "gradients", 3)
    for (index, parameter) in parameters.enumerated() { try parameter.writable("parameters[\(index)]", 2) }
    for (index, gradient) in gradients.enumerated() { try gradient.writable("gradients[\(index)]", 3) }
    try Tensor.apart(written: parameters + gradients, read: [])
    guard !learningRate.isInfinite else {
      throw TemperError(.notFinite, "`learning_rate` is infinite.", argument: 5)
    }
    guard let closure = unsafe closure else {
      throw TemperError(.invalidArgument, "`closure` must not be NULL.", argument: 6)
    }
    let caller = unsafe ForeignPointer(user)
    let first = try optimizer.step(
      parameters, gradients, learningRate: learningRate.isNaN ? nil : learningRate
    ) { () throws(TemperError) in
      var loss = Double.nan
      switch unsafe closure(caller.pointer, &loss) {
      case 0: return loss
      case 1: throw TemperError(.cancelled, "The closure stopped the step; the parameters are as they were.")
      case let answer:
        throw TemperError(.invalidArgument, "The closure returned \(answer); 0 goes on and 1 stops.", argument: 6)
      }
    }
    if let loss = unsafe loss { unsafe loss.pointee = first ?? .nan }
  }
}

@implementation @c public func temper_optimizer_add_group(
  _ handle: OpaquePointer?, _ positions: UnsafePointer<UInt64>?, _ positionCount: UInt64,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ scheduleHandle: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let optimizer = unsafe try optimizer(handle, 0)
    let places = unsafe try list(positions, positionCount, "positions", 1) { (position) throws(TemperError) in
      guard position < 1 << 32 else { throw TemperError(.outOfRange, "A position is below 2^32.", argument: 1) }
      return Int(position)
    }
    let changes = unsafe try Temper.parameters(params, paramCount, 3)
    let schedule =
      unsafe scheduleHandle == nil ? nil : try Handles.all.value(scheduleHandle, as: ScheduleInstance.self, argument: 5)
    try located(1) { () throws(TemperError) in try optimizer.addGroup(places, changes, schedule: schedule) }
  }
}

@implementation @c public func temper_optimizer_schedule(
  _ handle: OpaquePointer?, _ parameter: UnsafePointer<CChar>?, _ schedule: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (optimizer, parameter) = unsafe (try optimizer(handle, 0), try text(parameter, "parameter", 1))
    let schedule = unsafe try Handles.all.value(schedule, as: ScheduleInstance.self, argument: 2)
    try located(1) { () throws(TemperError) in try optimizer.follow(parameter, schedule) }
  }
}

@implementation @c public func temper_optimizer_evaluation_point(
  _ results: UnsafePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ parameters: UnsafePointer<OpaquePointer?>?,
  _ count: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let results = unsafe try tensors(results, count, "results", 0)
    let optimizer = unsafe try optimizer(handle, 1)
    let parameters = unsafe try tensors(parameters, count, "parameters", 2)
    for (index, result) in results.enumerated() { try result.writable("results[\(index)]", 0) }
    try optimizer.evaluationPoint(parameters, into: results)
  }
}

@implementation @c public func temper_optimizer_get_info(
  _ out: UnsafeMutablePointer<temper_optimizer_info>?, _ handle: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let optimizer = unsafe try optimizer(handle, 1)
    var info = temper_optimizer_info()
    (info.needs_closure, info.steps) = (optimizer.needsClosure ? 1 : 0, Int64(optimizer.step))
    unsafe try fill(out, "out", 0, info)
  }
}

@implementation @c public func temper_optimizer_save(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in unsafe try optimizer(handle, 0).save(try path(file, 1)) }
}

@implementation @c public func temper_optimizer_load(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in unsafe try optimizer(handle, 0).load(from: try path(file, 1)) }
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
      .filter { !$0.bytes.isEmpty }.inOrder { $0.bytes.lowerBound < $1.bytes.lowerBound }
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
  unsafe edge(freeing: handle, CalledOptimizer.self)
}
