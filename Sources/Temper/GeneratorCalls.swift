import CTemper
import TemperCatalogue

/// A generator with the context whose threads and seed it uses.
private struct Generator: ArrayHandled {
  static var kind: HandleKind { .generator }
  static var methodKind: MethodKind { .generator }
  let instance: ArrayInstance
  let context: Context
}

@implementation @c public func temper_generator_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Generator>.create(out, handle, name, params, paramCount, error)
}

@implementation @c public func temper_generator_generate(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ seed: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Generator>.perform("generate", out, handle, inputs, inputCount, seed: seed, error)
}

@implementation @c public func temper_generator_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, Generator.self)
}
