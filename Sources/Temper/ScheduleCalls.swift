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

@implementation @c public func temper_schedule_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, ScheduleInstance.self)
}
