import CTemper
import TemperCatalogue

/// A detector with the context whose threads and seed it uses.
private struct Detector: ArrayHandled {
  static var kind: HandleKind { .detector }
  static var methodKind: MethodKind { .detector }
  let instance: ArrayInstance
  let context: Context
}

@implementation @c public func temper_detector_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Detector>.create(out, handle, name, params, paramCount, error)
}

@implementation @c public func temper_detector_fit(
  _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?, _ inputCount: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Detector>.fit(handle, inputs, inputCount, error)
}

@implementation @c public func temper_detector_score(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Detector>.perform("score", out, handle, inputs, inputCount, error)
}

@implementation @c public func temper_detector_state(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Detector>.state(out, handle, error)
}

@implementation @c public func temper_detector_save(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Detector>.save(handle, file, error)
}

@implementation @c public func temper_detector_load(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Detector>.load(handle, file, error)
}

@implementation @c public func temper_detector_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, Detector.self)
}
