import CTemper
import TemperCatalogue
import TemperCore

/// A decoder is an operator that is called for its values alone.
private struct Decoder: Handled {
  static var kind: HandleKind { .decoder }
  let operation: OperationInstance
}

private func decoder(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> OperationInstance {
  unsafe try Handles.all.value(handle, as: Decoder.self, argument: argument).operation
}

@implementation @c public func temper_decoder_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 1)
    let (method, arguments) = unsafe try context.method(name, kinds: [.decoder], params, paramCount)
    return Decoder(operation: try OperationInstance(method, arguments, workers: context.workers))
  }
}

@implementation @c public func temper_decoder_result_shape(
  _ rank: UnsafeMutablePointer<Int32>?, _ sizes: UnsafeMutablePointer<Int64>?, _ handle: OpaquePointer?,
  _ inputs: UnsafePointer<temper_named_tensor>?, _ inputCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let decoder = unsafe try decoder(handle, 2)
    let inputs = unsafe try named(inputs, inputCount, "inputs", 3)
    unsafe try deliver(try decoder.resultShape(inputs.byName), rank, sizes)
  }
}

@implementation @c public func temper_decoder_evaluate(
  _ output: OpaquePointer?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (output, decoder) = unsafe (try result(output, "result", 0), try decoder(handle, 1))
    let inputs = unsafe try named(inputs, inputCount, "inputs", 2)
    for input in inputs { try output.apart(from: input.tensor, "result", input.name, 0) }
    _ = try decoder.evaluate(inputs.byName, into: output)
  }
}

@implementation @c public func temper_decoder_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, Decoder.self)
}
