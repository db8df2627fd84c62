import CTemper
import TemperCatalogue
import TemperCore
import TemperNetworks
import TemperQuantization

/// A model, perhaps with packed weights, with the context whose threads run it.
final class ContextModel: Handled {
  static var kind: HandleKind { .model }
  let model: Model
  let packed: QuantizedModel?
  let context: Context

  init(_ model: Model, _ context: Context) { (self.model, packed, self.context) = (model, nil, context) }
  init(_ packed: QuantizedModel, _ context: Context) {
    (model, self.packed, self.context) = (packed.model, packed, context)
  }

  /// From a file of any kind.
  convenience init(loading path: String, _ context: Context) throws(TemperError) {
    if try GGUF.begins(try ReadableFile(path)) {
      let file = try GGUF(reading: path)
      do throws(TemperError) {
        self.init(try file.model(catalogue: context.catalogue, workers: context.workers), context)
      } catch { throw error.from(path) }
      return
    }
    if path.hasSuffix(".onnx") {
      let file = try ONNXFile(reading: try ReadableFile(path))
      self.init(try file.model(catalogue: context.catalogue, workers: context.workers), context)
      return
    }
    let file = try Safetensors(reading: path)
    do throws(TemperError) {
      if QuantizedModel.isDescribed(by: file) {
        self.init(
          try QuantizedModel(restoring: file, catalogue: context.catalogue, workers: context.workers), context)
      } else {
        self.init(try Model(restoring: file, catalogue: context.catalogue), context)
      }
    } catch { throw error.from(path) }
  }

  func save(to path: String, options: [(name: String, value: Value)] = []) throws(TemperError) {
    let format = ModelFormat(path)
    let arguments = try Arguments(options, for: format.options)
    switch (format, packed) {
    case (.gguf, let packed?): try GGUF.write(packed, to: path, workers: context.workers)
    case (.gguf, nil):
      let type = try GGUFType(named: arguments.text("type"))
      try GGUF.write(model, to: path, type: type, workers: context.workers)
    case (.onnx, _): try model.exportONNX(to: path, packed: packed, workers: context.workers)
    case (.safetensors, let packed?): try packed.save(to: path, workers: context.workers)
    case (.safetensors, nil): try model.save(to: path)
    }
  }

  /// Parameters by name: those of the model itself share its memory, packed ones come dequantized.
  func parameters() throws(TemperError) -> [(name: String, tensor: Tensor)] {
    var parameters: [(name: String, tensor: Tensor)] = []
    for variable in model.parameters {
      if let tensor = variable.tensor {
        parameters.append((variable.name, tensor))
      } else if let matrix = packed?.matrix(variable.name) {
        let floats = try matrix.dequantize(workers: context.workers)
        parameters.append((variable.name, try floats.reshaped(variable.shape)))
      }
    }
    return parameters
  }

  /// Parameters and running statistics as they are held.
  var byteCount: Int {
    packed?.byteCount ?? (model.parameters + model.buffers).reduce(0) { $0 + ($1.tensor?.byteCount ?? 0) }
  }
}

/// How a model is written, by the end of the path.
private enum ModelFormat {
  case safetensors, gguf, onnx

  init(_ path: String) { self = StoredTensor.isGGUF(path) ? .gguf : path.hasSuffix(".onnx") ? .onnx : .safetensors }

  var options: [Parameter] {
    switch self {
    case .safetensors, .onnx: []
    case .gguf: [.text("type", "F32", "How matrices are stored.")]
    }
  }
}

func model(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> ContextModel {
  unsafe try Handles.all.value(handle, argument: argument)
}

@implementation @c public func temper_model_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ description: UnsafePointer<CChar>?,
  _ inputSizes: UnsafePointer<Int64>?, _ inputRank: Int32, _ type: Int32, _ seed: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 1)
    let description = unsafe try text(description, "description", 2)
    let input = unsafe try shape(inputSizes, rank: inputRank, "input_sizes", 3)
    let dtype = type == 0 ? DType.float32 : try dtype(type, 5)
    return try located(2) { () throws(TemperError) in
      ContextModel(
        try Model(
          try Description(parsing: description), input: input, dtype: dtype, seed: context.seed(or: seed),
          catalogue: context.catalogue), context)
    }
  }
}

@implementation @c public func temper_model_load(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 1)
    let path = unsafe try path(file, 2)
    return try ContextModel(loading: path, context)
  }
}

@implementation @c public func temper_model_save(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in unsafe try model(handle, 0).save(to: try path(file, 1)) }
}

@implementation @c public func temper_model_export(
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ params: UnsafePointer<temper_param>?,
  _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (model, path) = unsafe (try model(handle, 0), try path(file, 1))
    let given = unsafe try parameters(params, paramCount, 2)
    try model.save(to: path, options: given)
  }
}

@implementation @c public func temper_model_predict(
  _ output: OpaquePointer?, _ handle: OpaquePointer?, _ x: OpaquePointer?, _ mask: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (output, model) = unsafe (try result(output, "result", 0), try model(handle, 1))
    let x = unsafe try tensor(x, 2)
    let mask = unsafe mask == nil ? nil : try tensor(mask, 3)
    try output.apart(from: x, "result", "x", 0)
    if let mask { try output.apart(from: mask, "result", "mask", 0) }
    for variable in model.model.parameters {
      if let parameter = variable.tensor { try output.apart(from: parameter, "result", variable.name, 0) }
    }
    if output.dtype == model.model.dtype, output.isDense {
      return try model.model.predict(x, mask: mask, into: output, workers: model.context.workers)
    }
    guard output.dtype.isFloating else {
      throw TemperError(
        .invalidType, "`result` must be float32 or float64; \(output.dtype.name) came.", argument: 0)
    }
    let made = try model.model.predict(x, mask: mask, workers: model.context.workers)
    try located(0) { () throws(TemperError) in try output.assign(from: made) }
  }
}

/// The arrays that vjp and gradient_norms read, and where their results go.
private func backward(
  _ results: UnsafePointer<temper_named_tensor>?, _ count: UInt64, _ what: String, _ handle: OpaquePointer?,
  _ x: OpaquePointer?, _ mask: OpaquePointer?, _ dy: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?,
  _ run: (ContextModel, Tensor, Tensor?, Tensor, [(name: String, tensor: Tensor)]) throws(TemperError) -> Void
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let model = unsafe try model(handle, 2)
    var inputs = unsafe [(name: "x", tensor: try tensor(x, 3)), (name: "dy", tensor: try tensor(dy, 5))]
    let mask = unsafe mask == nil ? nil : try tensor(mask, 4)
    if let mask { inputs.append((name: "mask", tensor: mask)) }
    let parameters = model.model.parameters.compactMap { variable in
      variable.tensor.map { (name: variable.name, tensor: $0) }
    }
    let results = unsafe try namedResults(results, count, what, 0, reading: inputs + parameters)
    try run(model, inputs[0].tensor, mask, inputs[1].tensor, results)
  }
}

@implementation @c public func temper_model_vjp(
  _ gradients: UnsafePointer<temper_named_tensor>?, _ gradientCount: UInt64, _ handle: OpaquePointer?,
  _ x: OpaquePointer?, _ mask: OpaquePointer?, _ dy: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe backward(gradients, gradientCount, "gradients", handle, x, mask, dy, error) {
    (model, x, mask, dy, gradients) throws(TemperError) in
    try model.model.vectorJacobianProduct(x, mask: mask, dy: dy, into: gradients, workers: model.context.workers)
  }
}

@implementation @c public func temper_model_gradient_norms(
  _ norms: UnsafePointer<temper_named_tensor>?, _ normCount: UInt64, _ handle: OpaquePointer?,
  _ x: OpaquePointer?, _ mask: OpaquePointer?, _ dy: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe backward(norms, normCount, "norms", handle, x, mask, dy, error) {
    (model, x, mask, dy, norms) throws(TemperError) in
    try model.model.sampleGradientNorms(x, mask: mask, dy: dy, into: norms, workers: model.context.workers)
  }
}

@implementation @c public func temper_model_result_shape(
  _ rank: UnsafeMutablePointer<Int32>?, _ sizes: UnsafeMutablePointer<Int64>?, _ handle: OpaquePointer?,
  _ count: Int64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let model = unsafe try model(handle, 2).model
    let shape = try located(3) { () throws(TemperError) in try Shape(validating: [Int(count)] + model.output.sizes) }
    unsafe try deliver(shape, rank, sizes)
  }
}

@implementation @c public func temper_model_parameters(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    try TensorMap(unsafe try model(handle, 1).parameters())
  }
}

@implementation @c public func temper_model_describe(
  _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?,
  _ handle: OpaquePointer?, _ form: Int32, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let model = unsafe try model(handle, 3).model
    unsafe try deliver(
      try format(form, 4) == .text ? model.summary() : model.description.text, buffer, capacity, length)
  }
}

@implementation @c public func temper_model_get_info(
  _ out: UnsafeMutablePointer<temper_model_info>?, _ handle: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let handle = unsafe try model(handle, 1)
    let model = handle.model
    var info = temper_model_info()
    info.dtype = model.dtype.rawValue
    info.is_quantized = handle.packed == nil ? 0 : 1
    info.needs_mask = model.needsMask ? 1 : 0
    info.parameter_count = Int64(model.parameterCount)
    info.parameter_bytes = Int64(handle.byteCount)
    unsafe try fill(out, "out", 0, info)
  }
}

@implementation @c public func temper_model_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, ContextModel.self)
}
