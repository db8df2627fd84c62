import CTemper
import TemperCatalogue
import TemperCore

private func loss(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> LossInstance {
  unsafe try Handles.all.value(handle, argument: argument)
}

@implementation @c public func temper_loss_describe(
  _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?,
  _ handle: OpaquePointer?, _ form: Int32, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (method, format) = unsafe (try loss(handle, 3).method, try format(form, 4))
    unsafe try deliver(method.described(format), buffer, capacity, length)
  }
}

@implementation @c public func temper_loss_sum(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ terms: UnsafePointer<temper_loss_term>?, _ termCount: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let parts = unsafe try list(terms, termCount, "terms", 1) {
      (term: temper_loss_term) throws(TemperError) -> (name: String?, weight: Double, loss: LossInstance) in
      let name = unsafe term.name == nil ? nil : try text(term.name, "the name of a term", 1)
      return unsafe (name, term.weight, try loss(term.loss, 1))
    }
    return try located(1) { () throws(TemperError) in try LossInstance.sum(parts) }
  }
}

@implementation @c public func temper_loss_through(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ input: UnsafePointer<CChar>?,
  _ op: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let (loss, input) = unsafe (try loss(handle, 1), try text(input, "input", 2))
    return try loss.through(unsafe try Handles.all.value(op, as: OperationInstance.self, argument: 3), input: input)
  }
}

@implementation @c public func temper_loss_schedule(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ parameter: UnsafePointer<CChar>?,
  _ schedule: OpaquePointer?, _ clock: Int32, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let (loss, parameter) = unsafe (try loss(handle, 1), try text(parameter, "parameter", 2))
    let schedule = unsafe try Handles.all.value(schedule, as: ScheduleInstance.self, argument: 3)
    guard let clock = ParameterSchedule.Clock(rawValue: clock) else {
      throw TemperError(
        .invalidArgument, "\(clock) is not a clock: TEMPER_CLOCK_STEP is 0, TEMPER_CLOCK_EPOCH 1.", argument: 4)
    }
    return try loss.scheduled(parameter, by: schedule, clock)
  }
}

@implementation @c public func temper_loss_at(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ steps: Int64, _ epochs: Int64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let loss = unsafe try loss(handle, 1)
    guard steps >= 0, epochs >= 0 else {
      throw TemperError(.outOfRange, "Steps and epochs are 0 or more; \(steps) and \(epochs) came.", argument: 2)
    }
    return try loss.at(steps: Int(steps), epochs: Int(epochs))
  }
}
