import CTemper
import TemperCatalogue
import TemperCore

/// A metric is an operator that is called for its values alone.
private struct Metric: Handled {
  static var kind: HandleKind { .metric }
  let operation: OperationInstance
}

private func metric(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> OperationInstance {
  unsafe try Handles.all.value(handle, as: Metric.self, argument: argument).operation
}

@implementation @c public func temper_metric_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 1)
    let (method, arguments) = unsafe try context.method(name, kinds: [.metric], params, paramCount)
    return Metric(operation: try OperationInstance(method, arguments, workers: context.workers))
  }
}

@implementation @c public func temper_metric_result_shape(
  _ rank: UnsafeMutablePointer<Int32>?, _ sizes: UnsafeMutablePointer<Int64>?, _ handle: OpaquePointer?,
  _ inputs: UnsafePointer<temper_named_tensor>?, _ inputCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let metric = unsafe try metric(handle, 2)
    let inputs = unsafe try named(inputs, inputCount, "inputs", 3)
    unsafe try deliver(try metric.resultShape(inputs.byName), rank, sizes)
  }
}

@implementation @c public func temper_metric_evaluate(
  _ output: OpaquePointer?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (output, metric) = unsafe (try result(output, "result", 0), try metric(handle, 1))
    let inputs = unsafe try named(inputs, inputCount, "inputs", 2)
    for input in inputs { try output.apart(from: input.tensor, "result", input.name, 0) }
    _ = try metric.evaluate(inputs.byName, into: output)
  }
}

@implementation @c public func temper_metric_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, Metric.self)
}
