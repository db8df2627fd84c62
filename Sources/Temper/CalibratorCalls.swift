import CTemper
import TemperCatalogue

/// A calibrator with the context whose threads and seed it uses.
private struct Calibrator: ArrayHandled {
  static var kind: HandleKind { .calibrator }
  static var methodKind: MethodKind { .calibrator }
  let instance: ArrayInstance
  let context: Context
}

@implementation @c public func temper_calibrator_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Calibrator>.create(out, handle, name, params, paramCount, error)
}

@implementation @c public func temper_calibrator_fit(
  _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?, _ inputCount: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Calibrator>.fit(handle, inputs, inputCount, error)
}

@implementation @c public func temper_calibrator_transform(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Calibrator>.perform("transform", out, handle, inputs, inputCount, error)
}

@implementation @c public func temper_calibrator_state(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Calibrator>.state(out, handle, error)
}

@implementation @c public func temper_calibrator_save(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Calibrator>.save(handle, file, error)
}

@implementation @c public func temper_calibrator_load(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Calibrator>.load(handle, file, error)
}

@implementation @c public func temper_calibrator_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, Calibrator.self)
}
