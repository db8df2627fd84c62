import CTemper
import TemperCatalogue
import TemperCore
import TemperGraph

/// A loss whose values and gradients come from a function (temper_plugin.h, temper_loss_call).
struct FunctionLoss: Sendable {
  let function: any BatchFunction
  let descriptor: LossDescriptor
  let origin: String

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
    let working = function.precisions.working(for: type)
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
    do throws(TemperError) {
      defer { withExtendedLifetime((parameters, arrays, values, results)) {} }
      try call(count, working, present, arrays, values, Array(results.dropFirst()), parameters)
    } catch { throw error.from("\(descriptor.name) of \(origin)") }
    for (output, made) in zip(outputs, results) {
      if let output, let made, output.storage !== made.storage { try output.assign(from: made) }
    }
  }

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
    try unsafe inputs.withUnsafeBufferPointer { inputs throws(TemperError) in
      try unsafe targets.withUnsafeBufferPointer { targets throws(TemperError) in
        let call = unsafe temper_loss_call(
          struct_size: UInt32(MemoryLayout<temper_loss_call>.size),
          dtype: type == .float64 ? TEMPER_PLUGIN_FLOAT64 : TEMPER_PLUGIN_FLOAT32, count: Int64(count),
          input_count: UInt64(inputs.count), inputs: inputs.baseAddress, parameters: UnsafePointer(parameters.pointer),
          values: values.pointer, gradients: targets.baseAddress, message: temper_message())
        try unsafe function.evaluate(call)
      }
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
