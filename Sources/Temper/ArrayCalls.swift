import CTemper
import TemperCatalogue
import TemperCore
import TemperTraining

/// What stands behind the handles of methods over arrays: an instance, and the context whose seed it uses.
protocol ArrayHandled: Handled {
  static var methodKind: MethodKind { get }
  var instance: ArrayInstance { get }
  var context: Context { get }
  init(instance: ArrayInstance, context: Context)
}

/// The calls that samplers, generators, detectors and calibrators have in common.
enum ArrayCalls<Value: ArrayHandled> {
  static func create(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
    _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
  ) -> Int32 {
    unsafe edge(returning: out, error) { () throws(TemperError) in
      let context = unsafe try context(handle, 1)
      let (method, arguments) = unsafe try context.method(name, kinds: [Value.methodKind], params, paramCount)
      return Value(
        instance: try ArrayInstance(method, arguments, workers: context.workers), context: context)
    }
  }

  /// A call whose results come as a map.
  static func perform(
    _ call: String, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?,
    _ inputs: UnsafePointer<temper_named_tensor>?, _ inputCount: UInt64, seed: UInt64 = 0,
    _ error: UnsafeMutablePointer<temper_error>?
  ) -> Int32 {
    unsafe edge(returning: out, error) { () throws(TemperError) in
      let value = unsafe try value(handle, 1)
      let inputs = unsafe try named(inputs, inputCount, "inputs", 2)
      return try located(2) { () throws(TemperError) in
        try TensorMap(try value.instance.perform(call, inputs.byName, seed: value.context.seed(or: seed)))
      }
    }
  }

  static func fit(
    _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?, _ inputCount: UInt64,
    _ error: UnsafeMutablePointer<temper_error>?
  ) -> Int32 {
    unsafe edge(error) { () throws(TemperError) in
      let value = unsafe try value(handle, 0)
      let inputs = unsafe try named(inputs, inputCount, "inputs", 1)
      _ = try located(1) { () throws(TemperError) in
        try value.instance.perform("fit", inputs.byName, seed: value.context.seed)
      }
    }
  }

  static func state(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
  ) -> Int32 {
    unsafe edge(returning: out, error) { () throws(TemperError) in
      var copies: [(name: String, tensor: Tensor)] = []
      for entry in unsafe try value(handle, 1).instance.state { copies.append((entry.name, try entry.tensor.copy())) }
      return try TensorMap(copies)
    }
  }

  static func save(
    _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
  ) -> Int32 {
    unsafe edge(error) { () throws(TemperError) in unsafe try value(handle, 0).instance.save(try path(file, 1)) }
  }

  static func load(
    _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
  ) -> Int32 {
    unsafe edge(error) { () throws(TemperError) in unsafe try value(handle, 0).instance.load(from: try path(file, 1)) }
  }

  private static func value(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> Value {
    unsafe try Handles.all.value(handle, argument: argument)
  }
}
