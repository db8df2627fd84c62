import CTemper
import TemperCatalogue
import TemperCore
import TemperTraining

/// One procedure, or several combined.
final class HeldProcedure: Handled {
  static var kind: HandleKind { .procedure }
  let instance: ProcedureInstance
  init(_ instance: ProcedureInstance) { self.instance = instance }
}

func procedure(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> ProcedureInstance {
  unsafe try Handles.all.value(handle, as: HeldProcedure.self, argument: argument).instance
}

@implementation @c public func temper_procedure_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let (method, arguments) = unsafe try context(handle, 1).method(name, kinds: [.procedure], params, paramCount)
    return HeldProcedure(try ProcedureInstance(method, arguments))
  }
}

@implementation @c public func temper_procedure_combine(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ procedures: UnsafePointer<OpaquePointer?>?, _ count: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let parts = unsafe try list(procedures, count, "procedures", 1, limit: 64) { handle throws(TemperError) in
      unsafe try procedure(handle, 1)
    }
    return try located(1) { () throws(TemperError) in HeldProcedure(try ProcedureInstance(combining: parts)) }
  }
}

@implementation @c public func temper_procedure_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, HeldProcedure.self)
}
