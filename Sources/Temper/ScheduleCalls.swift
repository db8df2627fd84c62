import CTemper
import TemperCatalogue
import TemperCore

extension ScheduleInstance: Handled { static var kind: HandleKind { .schedule } }

@implementation @c public func temper_schedule_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let (method, arguments) = unsafe try context(handle, 1).method(name, kinds: [.schedule], params, paramCount)
    return try ScheduleInstance(method, arguments)
  }
}

@implementation @c public func temper_schedule_value(
  _ out: UnsafeMutablePointer<Double>?, _ handle: OpaquePointer?, _ step: Double,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let out = unsafe try required(out, "out", 0)
    let schedule = unsafe try Handles.all.value(handle, as: ScheduleInstance.self, argument: 1)
    guard step >= 0, step.isFinite else {
      throw TemperError(.outOfRange, "A step is 0 or more and finite; \(step) came.", argument: 2)
    }
    unsafe out.pointee = schedule.value(at: step)
  }
}

private func schedule(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> ScheduleInstance {
  unsafe try Handles.all.value(handle, argument: argument)
}

@implementation @c public func temper_schedule_observe(
  _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ value: Double, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let schedule = unsafe try schedule(handle, 0)
    let name = unsafe try text(name, "name", 1)
    guard value.isFinite else { throw TemperError(.notFinite, "`value` is not finite.", argument: 2) }
    try schedule.observe([(name, value)])
  }
}

@implementation @c public func temper_schedule_get_state(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    try Tensor(unsafe try schedule(handle, 1).state)
  }
}

@implementation @c public func temper_schedule_set_state(
  _ handle: OpaquePointer?, _ state: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (schedule, state) = unsafe (try schedule(handle, 0), try tensor(state, 1))
    guard state.dtype == .float64, state.shape.rank == 1 else {
      throw TemperError(.invalidType, "A state is one row of float64.", argument: 1)
    }
    try located(1) { () throws(TemperError) in try schedule.load(try state.array(of: Double.self)) }
  }
}

@implementation @c public func temper_schedule_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, ScheduleInstance.self)
}
