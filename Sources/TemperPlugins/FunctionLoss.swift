import CTemper
import TemperCatalogue
import TemperCore
import TemperGraph

/// A loss that a plug-in computes itself: values of a batch and their gradients (temper_plugin.h, FUNCTION).
@safe struct FunctionLoss: Sendable {
  let instance: Instance
  let descriptor: LossDescriptor
  let function: @Sendable @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<temper_loss_call>?) -> Int32
  let hasFloat64: Bool

  init(_ instance: Instance, _ descriptor: LossDescriptor, code: UnsafeRawPointer, hasFloat64: Bool) {
    (self.instance, self.descriptor, self.hasFloat64) = (instance, descriptor, hasFloat64)
    unsafe function = unsafe unsafeBitCast(
      code,
      to: (@Sendable @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<temper_loss_call>?) -> Int32).self)
  }

  /// The expression: a foreign function over the inputs that came.
  func build(_ formula: Formula) -> Expression {
    let present = descriptor.inputs.filter { formula.has($0.name) }
    let parameters = ParameterValues(descriptor.parameters, formula.arguments)
    let external = ExternalFunction(name: descriptor.name, differentiable: present.map(\.isDifferentiable)) {
      inputs, outputs throws(TemperError) in
      try run(present, inputs, outputs, parameters)
    }
    return .external(external, present.map { formula[$0.name] })
  }

  private func run(
    _ present: [Input], _ inputs: [Tensor], _ outputs: [Tensor?], _ parameters: ParameterValues
  ) throws(TemperError) {
    let type = (inputs + outputs.compactMap { $0 }).first { $0.dtype.isFloating }?.dtype ?? .float32
    // Without a function for float64 the work is done in float32, and converted.
    let working = type == .float64 && !hasFloat64 ? DType.float32 : type
    var arrays: [Tensor] = []
    for input in inputs {
      arrays.append(input.dtype.isFloating && input.dtype != working ? try input.copy(as: working) : try input.dense())
    }
    var results: [Tensor?] = []
    for output in outputs {
      guard let output else {
        results.append(nil)
        continue
      }
      results.append(output.dtype == working && output.isDense ? output : try Tensor(zeros: output.shape, working))
    }
    guard let count = inputs.first?.shape.sizes.first else { return }
    let values: Tensor
    if let wanted = results[0] { values = wanted } else { values = try Tensor(zeros: [count, 1], working) }
    try call(count, working, present, arrays, values, Array(results.dropFirst()), parameters)
    for (output, made) in zip(outputs, results) {
      if let output, let made, output.storage !== made.storage { try output.assign(from: made) }
    }
  }

  /// One call of the plug-in's function.
  private func call(
    _ count: Int, _ type: DType, _ present: [Input], _ arrays: [Tensor], _ values: Tensor, _ gradients: [Tensor?],
    _ parameters: ParameterValues
  ) throws(TemperError) {
    var inputs: [temper_plugin_array] = unsafe []
    var targets: [UnsafeMutableRawPointer?] = unsafe []
    for input in descriptor.inputs {
      let at = present.firstIndex { $0.name == input.name }
      unsafe inputs.append(foreignArray(at.map { arrays[$0] }, rank: input.forms[0].shape.count))
      unsafe targets.append(at.flatMap { unsafe $0 < gradients.count ? gradients[$0]?.pointer : nil })
    }
    var status: Int32 = 0
    let text = unsafe messageText { message in
      unsafe inputs.withUnsafeBufferPointer { inputs in
        unsafe targets.withUnsafeBufferPointer { targets in
          var call = unsafe temper_loss_call()
          unsafe call.struct_size = UInt32(MemoryLayout<temper_loss_call>.size)
          unsafe call.dtype = type == .float64 ? TEMPER_PLUGIN_FLOAT64 : TEMPER_PLUGIN_FLOAT32
          unsafe call.count = Int64(count)
          unsafe call.input_count = UInt64(inputs.count)
          unsafe call.inputs = inputs.baseAddress
          unsafe call.parameters = UnsafePointer(parameters.pointer)
          unsafe call.values = values.pointer
          unsafe call.gradients = targets.baseAddress
          unsafe call.message = message
          status = unsafe function(instance.statePointer, &call)
        }
      }
    }
    guard status == 0 else {
      throw TemperError(
        .pluginFailed, "It returned \(status): \(text).", origin: "\(descriptor.name) of \(instance.origin)")
    }
  }
}

/// An array as plug-ins see it: under its declared rank (class ids come with a last axis of 1 inside).
func foreignArray(_ tensor: Tensor?, rank: Int) -> temper_plugin_array {
  var array = unsafe temper_plugin_array()
  unsafe array.rank = Int64(rank)
  guard let tensor else { return unsafe array }
  unsafe array.data = UnsafeRawPointer(tensor.pointer)
  unsafe withUnsafeMutableBytes(of: &array.sizes) { bytes in
    for (axis, size) in tensor.shape.sizes.prefix(rank).enumerated() {
      unsafe bytes.storeBytes(of: Int64(size), toByteOffset: axis * 8, as: Int64.self)
    }
  }
  return unsafe array
}

/// The values of a loss's parameters as a C array.
@safe final class ParameterValues: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<temper_plugin_value>
  private let count: Int

  init(_ parameters: [Parameter], _ arguments: Arguments) {
    count = parameters.count
    unsafe pointer = .allocate(capacity: max(count, 1))
    for (index, parameter) in parameters.enumerated() {
      var value = unsafe temper_plugin_value()
      switch arguments.values[parameter.name] ?? parameter.initial {
      case .none: break
      case .boolean(let flag): unsafe (value.integer, value.real) = (flag ? 1 : 0, flag ? 1 : 0)
      case .integer(let whole): unsafe (value.integer, value.real) = (Int64(whole), Double(whole))
      case .real(let number): unsafe value.real = number
      case .text(let text): unsafe value.text = UnsafePointer(duplicate(text))
      }
      unsafe (pointer + index).initialize(to: value)
    }
  }

  deinit {
    for index in 0..<count { unsafe UnsafeMutablePointer(mutating: pointer[index].text)?.deallocate() }
    unsafe pointer.deallocate()
  }
}

/// A copy of a text as C has it; the caller deallocates it.
@unsafe func duplicate(_ text: String) -> UnsafeMutablePointer<CChar> {
  let bytes = text.utf8CString
  let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
  for (index, byte) in bytes.enumerated() { unsafe (copy + index).initialize(to: byte) }
  return unsafe copy
}
