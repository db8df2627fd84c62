import CTemper
import TemperCatalogue
import TemperCore

extension OperationInstance: Handled { static var kind: HandleKind { .op } }

private func op(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> OperationInstance {
  unsafe try Handles.all.value(handle, argument: argument)
}

extension OperationInstance {
  /// The inputs' own names for those that came, which may be aliases.
  fileprivate func canonical(_ entries: [(name: String, tensor: Tensor)]) -> [String: Tensor] {
    entries.map { entry in
      (
        method.inputs.first { $0.name == entry.name || $0.aliases.contains(entry.name) }?.name ?? entry.name,
        entry.tensor
      )
    }.byName
  }
}

@implementation @c public func temper_op_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 1)
    let (method, arguments) = unsafe try context.method(name, kinds: [.op, .activation], params, paramCount)
    return try OperationInstance(method, arguments, workers: context.workers)
  }
}

@implementation @c public func temper_op_result_shape(
  _ rank: UnsafeMutablePointer<Int32>?, _ sizes: UnsafeMutablePointer<Int64>?, _ handle: OpaquePointer?,
  _ inputs: UnsafePointer<temper_named_tensor>?, _ inputCount: UInt64, _ axis: Int32,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let op = unsafe try op(handle, 2)
    let inputs = unsafe try named(inputs, inputCount, "inputs", 3)
    unsafe try deliver(try op.resultShape(inputs.byName, axis: Int(axis)), rank, sizes)
  }
}

@implementation @c public func temper_op_evaluate(
  _ output: OpaquePointer?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ axis: Int32, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (output, op) = unsafe (try result(output, "result", 0), try op(handle, 1))
    let inputs = unsafe try named(inputs, inputCount, "inputs", 2)
    for input in inputs { try output.apart(from: input.tensor, "result", input.name, 0) }
    _ = try op.evaluate(inputs.byName, axis: Int(axis), into: output)
  }
}

@implementation @c public func temper_op_vjp(
  _ gradients: UnsafePointer<temper_named_tensor>?, _ gradientCount: UInt64, _ handle: OpaquePointer?,
  _ inputs: UnsafePointer<temper_named_tensor>?, _ inputCount: UInt64, _ dy: OpaquePointer?, _ axis: Int32,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (op, dy) = unsafe (try op(handle, 2), try tensor(dy, 5))
    let inputs = unsafe try named(inputs, inputCount, "inputs", 3)
    let gradients = unsafe try namedResults(
      gradients, gradientCount, "gradients", 0, reading: inputs + [("dy", dy)])
    _ = try op.vectorJacobianProduct(
      inputs.byName, dy: dy, axis: Int(axis), wrt: gradients.map(\.name), into: op.canonical(gradients))
  }
}

@implementation @c public func temper_op_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, OperationInstance.self)
}
