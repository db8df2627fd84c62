import CTemper
import TemperCatalogue
import TemperCore
import TemperNetworks
import TemperQuantization

/// A quantizer with the context whose threads run it.
final class ContextQuantizer: Handled {
  static var kind: HandleKind { .quantizer }
  let quantizer: any Quantizer
  /// Its name and parameters.
  let settings: String
  let context: Context
  /// Inputs of a matrix that came ahead.
  var inputs: InputStatistics?
  /// The model for which inputs came ahead or a run was stopped, and what they left.
  var model: Model?
  var observed: [String: InputStatistics] = [:]
  var session = QuantizationSession()

  /// Another model begins anew.
  func turn(to model: Model) {
    if self.model === model { return }
    (self.model, observed, session) = (model, [:], QuantizationSession())
  }

  func forget() { (model, observed, session) = (nil, [:], QuantizationSession()) }

  init(_ quantizer: any Quantizer, settings: String, _ context: Context) {
    (self.quantizer, self.settings, self.context) = (quantizer, settings, context)
  }
}

/// One packed matrix.
final class ContextQuantized: Handled {
  static var kind: HandleKind { .quantized }
  let matrix: QuantizedMatrix
  let report: QuantizationReport
  let context: Context
  init(_ weight: QuantizedWeight, _ context: Context) {
    (matrix, report, self.context) = (weight.matrix, weight.report, context)
  }
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
    return ContextQuantizer(
      try method.quantizer(arguments.values.map { ($0.key, $0.value) }), settings: "\(method.name) \(arguments.text)",
      context)
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
    let observed = handle.inputs
    if data == nil { handle.inputs = nil }
    return ContextQuantized(
      try handle.quantizer.quantize(
        weight, calibration: data, observed: observed, workers: handle.context.workers), handle.context)
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
  unsafe quantizeFile(handle, source, target, nil, 0, progress, user, error)
}

@implementation @c public func temper_quantizer_quantize_file_except(
  _ handle: OpaquePointer?, _ source: UnsafePointer<CChar>?, _ target: UnsafePointer<CChar>?,
  _ skip: UnsafePointer<UnsafePointer<CChar>?>?, _ skipCount: UInt64, _ progress: temper_quantize_function?,
  _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe quantizeFile(handle, source, target, skip, skipCount, progress, user, error)
}

private func quantizeFile(
  _ handle: OpaquePointer?, _ source: UnsafePointer<CChar>?, _ target: UnsafePointer<CChar>?,
  _ skip: UnsafePointer<UnsafePointer<CChar>?>?, _ skipCount: UInt64, _ progress: temper_quantize_function?,
  _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let handle = unsafe try quantizer(handle, 0)
    let (source, target) = unsafe (try path(source, 1), try path(target, 2))
    let skip = unsafe try list(skip, skipCount, "skip", 3) { entry throws(TemperError) in
      unsafe try text(entry, "an entry of skip", 3)
    }
    let work = FileQuantization(
      handle.quantizer, settings: handle.settings, catalogue: handle.context.catalogue,
      workers: handle.context.workers)
    try work.run(from: source, to: target, skip: Set(skip)) { step throws(TemperError) in
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
      case 1:
        throw TemperError(
          .cancelled, "Quantizing was cancelled; the next such call goes on from what is kept beside the file.")
      default:
        throw TemperError(
          .invalidArgument, "The progress callback returned \(answer); 0 goes on and 1 stops.", argument: 3)
      }
    }
  }
}

@implementation @c public func temper_quantizer_run(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ modelHandle: OpaquePointer?,
  _ options: UnsafePointer<temper_quantization_options>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let (handle, model) = unsafe (try quantizer(handle, 1), try model(modelHandle, 2))
    let options =
      if let options = unsafe options {
        unsafe try sized(options, temper_quantization_options(), "options", 3)
      } else {
        unsafe temper_quantization_options()
      }
    let data = unsafe options.calibration == nil ? nil : try tensor(options.calibration, 3)
    let targets = unsafe options.targets == nil ? nil : try tensor(options.targets, 3)
    if let data { try located(3) { () throws(TemperError) in try model.model.checkInput(data) } }
    let skip = unsafe try list(options.skip, options.skip_count, "skip", 3) { entry throws(TemperError) in
      unsafe try text(entry, "an entry of skip", 3)
    }
    handle.turn(to: model.model)
    handle.session.progress = nil
    if let function = unsafe options.progress {
      let caller = unsafe ForeignQuantizationProgress(
        function: function, user: ForeignPointer(options.progress_user))
      handle.session.progress = { progress throws(TemperError) in try caller.tell(progress) }
    }
    let result = try handle.quantizer.quantize(
      model.model, calibration: data, observed: handle.observed.isEmpty ? nil : handle.observed, targets: targets,
      skip: skip, session: handle.session, catalogue: model.context.catalogue, workers: model.context.workers)
    handle.forget()
    return ContextModel(result.model, model.context)
  }
}

/// The caller's progress function.
@safe private struct ForeignQuantizationProgress {
  let function: temper_quantization_progress_function
  let user: ForeignPointer

  /// Whether to go on.
  func tell(_ progress: QuantizationSession.Progress) throws(TemperError) -> Bool {
    var report = progress.report?.foreign ?? temper_quantization_report()
    let hasReport = progress.report != nil
    let answer = unsafe progress.what.withCString { what in
      unsafe withUnsafePointer(to: &report) { report in
        var told = unsafe temper_quantization_progress(
          struct_size: UInt32(MemoryLayout<temper_quantization_progress>.size), reserved: 0, done: Int64(progress.done),
          count: Int64(progress.count), what: what, report: hasReport ? report : nil)
        return unsafe function(user.pointer, &told)
      }
    }
    guard answer == 0 || answer == 1 else {
      throw TemperError(.invalidArgument, "The progress function gave \(answer); it gives 0 or 1.", argument: 3)
    }
    return answer == 0
  }
}

extension QuantizationReport {
  fileprivate var foreign: temper_quantization_report {
    var report = temper_quantization_report()
    report.struct_size = UInt32(MemoryLayout<temper_quantization_report>.size)
    (report.bits, report.effective_bits) = (bits, effectiveBits)
    (report.byte_count, report.float_byte_count) = (Int64(byteCount), Int64(floatByteCount))
    (report.mean_squared_error, report.largest_error) = (meanSquaredError, largestError)
    (report.relative_error, report.output_error) = (relativeError, outputError ?? .nan)
    return report
  }
}

@implementation @c public func temper_quantizer_save(
  _ handle: OpaquePointer?, _ target: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (handle, target) = unsafe (try quantizer(handle, 0), try path(target, 1))
    guard let model = handle.model, !handle.session.finished.isEmpty else {
      throw TemperError(.wrongState, "No run that was cancelled has left anything to save.")
    }
    try handle.session.save(to: target, settings: handle.settings, of: model, workers: handle.context.workers)
  }
}

@implementation @c public func temper_quantizer_load(
  _ handle: OpaquePointer?, _ modelHandle: OpaquePointer?, _ source: UnsafePointer<CChar>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (handle, model) = unsafe (try quantizer(handle, 0), try model(modelHandle, 1))
    let session = QuantizationSession()
    unsafe try session.load(
      try path(source, 2), settings: handle.settings, of: model.model, workers: handle.context.workers)
    handle.turn(to: model.model)
    handle.session = session
  }
}

@implementation @c public func temper_quantizer_observe(
  _ handle: OpaquePointer?, _ modelHandle: OpaquePointer?, _ x: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (handle, x) = unsafe (try quantizer(handle, 0), try tensor(x, 2))
    guard unsafe modelHandle != nil else {
      return try located(2) { () throws(TemperError) in
        let inputs: InputStatistics
        if let known = handle.inputs { inputs = known } else { inputs = try InputStatistics(columns: x.shape.last) }
        try inputs.add(x, workers: handle.context.workers)
        handle.inputs = inputs
      }
    }
    let model = unsafe try model(modelHandle, 1)
    handle.turn(to: model.model)
    try located(2) { () throws(TemperError) in
      try model.model.observe(
        try model.model.packable(), x, into: &handle.observed, workers: model.context.workers)
    }
  }
}

@implementation @c public func temper_model_quantization_count(
  _ out: UnsafeMutablePointer<UInt64>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let out = unsafe try required(out, "out", 0)
    unsafe out.pointee = UInt64(try model(handle, 1).packed?.reports.count ?? 0)
  }
}

@implementation @c public func temper_model_quantization(
  _ name: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?,
  _ out: UnsafeMutablePointer<temper_quantization_report>?, _ handle: OpaquePointer?, _ index: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let reports = unsafe try model(handle, 4).packed?.reports ?? []
    guard index < UInt64(reports.count) else {
      throw TemperError(
        .outOfRange, "`index` is below \(reports.count), the number of weights; \(index) came.", argument: 5)
    }
    let weight = reports[Int(index)]
    if unsafe out != nil { unsafe try fill(out, "out", 3, weight.report.foreign) }
    unsafe try deliver(weight.name, name, capacity, length)
  }
}

@implementation @c public func temper_quantized_get_report(
  _ out: UnsafeMutablePointer<temper_quantization_report>?, _ handle: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    unsafe try fill(out, "out", 0, try quantized(handle, 1).report.foreign)
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
