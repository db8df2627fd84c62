import CTemper
import TemperCatalogue
import TemperCore
import TemperNetworks
import TemperQuantization

/// A quantizer with the context whose threads run it.
final class ContextQuantizer: Handled {
  static var kind: HandleKind { .quantizer }
  let quantizer: any Quantizer
  let context: Context
  init(_ quantizer: any Quantizer, _ context: Context) { (self.quantizer, self.context) = (quantizer, context) }
}

/// One packed matrix.
final class ContextQuantized: Handled {
  static var kind: HandleKind { .quantized }
  let matrix: QuantizedMatrix
  let context: Context
  init(_ matrix: QuantizedMatrix, _ context: Context) { (self.matrix, self.context) = (matrix, context) }
}

private func quantizer(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> ContextQuantizer {
  unsafe try Handles.all.value(handle, argument: argument)
}

func quantized(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> ContextQuantized {
  unsafe try Handles.all.value(handle, argument: argument)
}

@implementation @c public func temper_quantizer_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 1)
    let (method, arguments) = unsafe try context.method(name, kinds: [.quantizer], params, paramCount)
    return ContextQuantizer(try method.quantizer(arguments.values.map { ($0.key, $0.value) }), context)
  }
}

@implementation @c public func temper_quantizer_quantize(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ weight: OpaquePointer?,
  _ calibration: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let handle = unsafe try quantizer(handle, 1)
    let weight = unsafe try tensor(weight, 2)
    let data = unsafe calibration == nil ? nil : try tensor(calibration, 3)
    guard weight.shape.rank == 2 else {
      throw TemperError(
        .invalidShape, "`weight` is a matrix (outputs, inputs); shape \(weight.shape) came.", argument: 2)
    }
    let result = try handle.quantizer.quantize(weight, calibration: data, workers: handle.context.workers)
    return ContextQuantized(result.matrix, handle.context)
  }
}

@implementation @c public func temper_quantizer_quantize_model(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ modelHandle: OpaquePointer?,
  _ calibration: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let (handle, model) = unsafe (try quantizer(handle, 1), try model(modelHandle, 2))
    let data = unsafe calibration == nil ? nil : try tensor(calibration, 3)
    if let data { try located(3) { () throws(TemperError) in try model.model.checkInput(data) } }
    let result = try handle.quantizer.quantize(
      model.model, calibration: data, catalogue: model.context.catalogue, workers: model.context.workers)
    return ContextModel(result.model, model.context)
  }
}

@implementation @c public func temper_quantizer_quantize_file(
  _ handle: OpaquePointer?, _ source: UnsafePointer<CChar>?, _ target: UnsafePointer<CChar>?,
  _ progress: temper_quantize_function?, _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let handle = unsafe try quantizer(handle, 0)
    let (source, target) = unsafe (try path(source, 1), try path(target, 2))
    let work = FileQuantization(
      handle.quantizer, catalogue: handle.context.catalogue, workers: handle.context.workers)
    try work.run(from: source, to: target) { step throws(TemperError) in
      guard let progress = unsafe progress else { return }
      var told = unsafe temper_quantize_step()
      unsafe told.struct_size = UInt32(unsafe MemoryLayout<temper_quantize_step>.size)
      unsafe (told.done, told.count) = (Int64(step.done), Int64(step.count))
      if let report = step.report {
        unsafe told.is_quantized = 1
        unsafe (told.byte_count, told.float_byte_count) = (Int64(report.byteCount), Int64(report.floatByteCount))
        unsafe told.relative_error = report.relativeError
      }
      let answer = unsafe step.name.withCString { name in
        unsafe told.name = unsafe name
        return unsafe progress(user, &told)
      }
      switch answer {
      case 0: return
      case 1: throw TemperError(.cancelled, "Quantizing was cancelled; no file was written.")
      default:
        throw TemperError(
          .invalidArgument, "The progress callback returned \(answer); 0 goes on and 1 stops.", argument: 3)
      }
    }
  }
}

@implementation @c public func temper_quantizer_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, ContextQuantizer.self)
}

@implementation @c public func temper_quantized_get_info(
  _ out: UnsafeMutablePointer<temper_quantized_info>?, _ handle: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let matrix = unsafe try quantized(handle, 1).matrix
    var info = temper_quantized_info()
    info.bits = Int32(matrix.bits.rounded(.up))
    (info.outputs, info.inputs) = (Int64(matrix.rows), Int64(matrix.columns))
    info.byte_count = Int64(matrix.byteCount)
    unsafe try fill(out, "out", 0, info)
  }
}

@implementation @c public func temper_quantized_dequantize(
  _ output: OpaquePointer?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (output, handle) = unsafe (try result(output, "result", 0), try quantized(handle, 1))
    try located(0) { () throws(TemperError) in
      if output.isDense { return try handle.matrix.dequantize(into: output, workers: handle.context.workers) }
      try output.floats()
      try output.assign(from: try handle.matrix.dequantize(workers: handle.context.workers))
    }
  }
}

@implementation @c public func temper_quantized_matmul(
  _ output: OpaquePointer?, _ handle: OpaquePointer?, _ x: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe product(output, handle, x, .float, error)
}

@implementation @c public func temper_quantized_matmul_int8(
  _ output: OpaquePointer?, _ handle: OpaquePointer?, _ x: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe product(output, handle, x, .int8, error)
}

private func product(
  _ output: OpaquePointer?, _ handle: OpaquePointer?, _ x: OpaquePointer?, _ activations: InputPrecision,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (output, handle, x) = unsafe (try result(output, "result", 0), try quantized(handle, 1), try tensor(x, 2))
    let workers = handle.context.workers
    try output.apart(from: x, "result", "x", 0)
    if output.isDense, output.dtype == x.dtype {
      return try handle.matrix.matmul(try x.dense(), into: output, activations: activations, workers: workers)
    }
    let made = try located(2) { () throws(TemperError) in
      try handle.matrix.matmul(x, activations: activations, workers: workers)
    }
    try located(0) { () throws(TemperError) in
      try output.floats()
      try output.assign(from: made)
    }
  }
}

@implementation @c public func temper_tensor_matmul_int8(
  _ output: OpaquePointer?, _ handle: OpaquePointer?, _ a: OpaquePointer?, _ b: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (output, context) = unsafe (try result(output, "result", 0), try context(handle, 1))
    let (a, b) = unsafe (try tensor(a, 2), try tensor(b, 3))
    try output.apart(from: a, "result", "a", 0)
    try output.apart(from: b, "result", "b", 0)
    if output.isDense || output.dtype != .int32 {
      return try Int8Product.run(a, b, into: output, workers: context.workers)
    }
    let made = try Tensor(zeros: output.shape, .int32)
    try Int8Product.run(a, b, into: made, workers: context.workers)
    try output.assign(from: made)
  }
}

@implementation @c public func temper_quantized_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, ContextQuantized.self)
}

extension Tensor {
  fileprivate func floats() throws(TemperError) {
    guard dtype.isFloating else {
      throw TemperError(.invalidType, "`result` must be float32 or float64; \(dtype.name) came.")
    }
  }
}
