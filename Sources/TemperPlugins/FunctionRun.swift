import CTemper
import TemperCatalogue
import TemperCore

/// One way in which a function is called from a graph: for values, gradients and new state, or for the products of its
/// second derivatives with a direction for one input.
struct FunctionRun: Sendable {
  private let loss: FunctionLoss
  private let present: [Input]
  private let parameters: ParameterValues
  /// The input, of those present, whose direction comes last among the arrays.
  private let direction: Int?

  init(_ loss: FunctionLoss, _ present: [Input], _ parameters: ParameterValues, direction: Int?) {
    (self.loss, self.present, self.parameters, self.direction) = (loss, present, parameters, direction)
  }

  /// `inputs`: those present, states, a direction. `outputs`: the value, then what belongs to each input and state.
  func callAsFunction(_ inputs: [Tensor], _ outputs: [Tensor?]) throws(TemperError) {
    let type = (inputs + outputs.compactMap { $0 }).first { $0.dtype.isFloating }?.dtype ?? .float32
    let working = loss.function.precisions.working(for: type)
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
      try call(count, working, arrays, values, Array(results.dropFirst()))
    } catch { throw error.from("\(loss.descriptor.name) of \(loss.origin)") }
    for (output, made) in zip(outputs, results) {
      if let output, let made, output.storage !== made.storage { try output.assign(from: made) }
    }
  }

  private func call(
    _ count: Int, _ type: DType, _ arrays: [Tensor], _ values: Tensor, _ results: [Tensor?]
  ) throws(TemperError) {
    let descriptor = loss.descriptor
    var inputs: [temper_plugin_array] = unsafe []
    var (first, directions): ([UnsafeMutableRawPointer?], [UnsafeRawPointer?]) = unsafe ([], [])
    for input in descriptor.inputs {
      let at = present.firstIndex { $0.name == input.name }
      unsafe inputs.append(foreignArray(at.map { arrays[$0] }, rank: input.forms[0].shape.count))
      unsafe first.append(at.flatMap { unsafe $0 < results.count ? results[$0]?.pointer : nil })
      unsafe directions.append(
        at != nil && at == direction ? arrays.last.map { unsafe UnsafeRawPointer($0.pointer) } : nil)
    }
    let states = unsafe descriptor.states.indices.map { index in
      unsafe foreignArray(arrays[present.count + index], rank: descriptor.states[index].shape.count + 1)
    }
    let newStates = unsafe descriptor.states.indices.map { index in
      unsafe direction == nil && present.count + index < results.count ? results[present.count + index]?.pointer : nil
    }
    let none = unsafe CArray([UnsafeMutableRawPointer?](repeating: nil, count: inputs.count))
    let lists = unsafe (CArray(inputs), CArray(states), CArray(newStates), CArray(first), CArray(directions))
    var call = unsafe temper_loss_call()
    unsafe call.struct_size = unsafe UInt32(MemoryLayout<temper_loss_call>.size)
    unsafe call.dtype = type == .float64 ? TEMPER_PLUGIN_FLOAT64 : TEMPER_PLUGIN_FLOAT32
    unsafe (call.count, call.input_count) = unsafe (Int64(count), UInt64(inputs.count))
    unsafe (call.inputs, call.parameters) = unsafe (UnsafePointer(lists.0.pointer), UnsafePointer(parameters.pointer))
    unsafe (call.values, call.gradients) = unsafe (
      values.pointer, UnsafePointer((direction == nil ? lists.3 : none).pointer)
    )
    unsafe (call.state_count, call.states) = unsafe (UInt64(states.count), UnsafePointer(lists.1.pointer))
    unsafe call.new_states = unsafe UnsafePointer(lists.2.pointer)
    if direction != nil {
      unsafe (call.directions, call.products) = unsafe (UnsafePointer(lists.4.pointer), UnsafePointer(lists.3.pointer))
    }
    defer { unsafe withExtendedLifetime((none, lists)) {} }
    unsafe try loss.function.evaluate(call)
  }
}
