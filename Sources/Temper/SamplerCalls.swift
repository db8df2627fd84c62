import CTemper
import TemperCatalogue

/// A sampler with the context whose threads and seed it uses.
private struct Sampler: ArrayHandled {
  static var kind: HandleKind { .sampler }
  static var methodKind: MethodKind { .sampler }
  let instance: ArrayInstance
  let context: Context
}

@implementation @c public func temper_sampler_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Sampler>.create(out, handle, name, params, paramCount, error)
}

@implementation @c public func temper_sampler_resample(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ seed: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Sampler>.perform("resample", out, handle, inputs, inputCount, seed: seed, error)
}

@implementation @c public func temper_sampler_indices(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ seed: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Sampler>.perform("indices", out, handle, inputs, inputCount, seed: seed, error)
}

@implementation @c public func temper_sampler_weights(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Sampler>.perform("weights", out, handle, inputs, inputCount, error)
}

@implementation @c public func temper_sampler_state(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Sampler>.state(out, handle, error)
}

@implementation @c public func temper_sampler_save(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Sampler>.save(handle, file, error)
}

@implementation @c public func temper_sampler_load(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe ArrayCalls<Sampler>.load(handle, file, error)
}

@implementation @c public func temper_sampler_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, Sampler.self)
}
