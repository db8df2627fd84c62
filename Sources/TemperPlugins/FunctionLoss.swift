import CTemper
import TemperCatalogue
import TemperCore
import TemperGraph

/// A loss whose values and gradients come from a function (temper_plugin.h, temper_loss_call).
struct FunctionLoss: Sendable {
  let function: any BatchFunction
  let descriptor: LossDescriptor
  let origin: String

  /// The expression: a foreign function over the inputs that came and what samples keep.
  func build(_ formula: Formula) -> Expression {
    let present = descriptor.inputs.filter { formula.has($0.name) }
    let parameters = ParameterValues(descriptor.parameters, formula.arguments)
    let states = descriptor.states.map { formula.state($0.name) }
    let differentiable = present.map(\.isDifferentiable) + states.map { _ in false }
    let plain = FunctionRun(self, present, parameters, direction: nil)
    let curvatures: [ExternalFunction] =
      !descriptor.hasProducts
      ? []
      : present.indices.map { index in
        let run = FunctionRun(self, present, parameters, direction: index)
        return ExternalFunction(name: descriptor.name, differentiable: differentiable + [false]) {
          inputs, outputs throws(TemperError) in
          try run(inputs, outputs)
        }
      }
    let external = ExternalFunction(name: descriptor.name, differentiable: differentiable, curvatures: curvatures) {
      inputs, outputs throws(TemperError) in
      try plain(inputs, outputs)
    }
    let inputs = present.map { formula[$0.name] } + states
    for (index, state) in descriptor.states.enumerated() {
      formula.update(state.name, to: .external(external, inputs, for: present.count + index))
    }
    return .external(external, inputs)
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
