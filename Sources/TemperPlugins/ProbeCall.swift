import CTemper
import TemperCatalogue
import TemperCore

/// The arrays of one call of the probe, guarded.
struct ProbeCall {
  /// What a call computes beside values.
  enum Wanted {
    case values
    /// Gradients, and what samples keep from now on.
    case gradients
    /// Products of the second derivatives with a direction for one input.
    case products(input: Int, direction: [Double])
  }

  let inputs: [GuardedArray?]
  let values: GuardedArray
  let gradients: [GuardedArray?]
  let products: [GuardedArray?]
  private let states: [GuardedArray]
  private let newStates: [GuardedArray?]
  private let direction: GuardedArray?
  private let lists: [GuardedArray]
  private let count: Int
  /// As the function saw them, after rounding.
  let numbers: [[Double]]

  init(
    _ descriptor: LossDescriptor, _ probe: ProbeCase, _ present: [Bool], _ numbers: [[Double]], _ wanted: Wanted
  ) throws(TemperError) {
    (self.numbers, count) = (numbers, probe.samples)
    let width = probe.type.byteCount
    func made(_ name: String, _ count: Int, _ values: [Double]?, _ type: DType) throws(TemperError) -> GuardedArray {
      let array = try GuardedArray(name, byteCount: count * type.byteCount)
      if let values {
        array.fill(values, as: type)
        array.makeReadOnly()
      }
      return array
    }
    values = try GuardedArray("the values", byteCount: probe.samples * width)
    var (inputs, gradients, products): ([GuardedArray?], [GuardedArray?], [GuardedArray?]) = ([], [], [])
    var direction: GuardedArray?
    for (index, input) in descriptor.inputs.enumerated() {
      let elements = probe.shape(input).count
      let isWritten = present[index] && input.isDifferentiable
      let name = input.name
      inputs.append(
        present[index] ? try made("the input \(name)", elements, numbers[index], probe.elementType(input)) : nil)
      var (gradient, product): (GuardedArray?, GuardedArray?)
      if case .gradients = wanted, isWritten {
        gradient = try made("the gradient for \(name)", elements, nil, probe.type)
      }
      if case .products(let along, let vector) = wanted {
        if isWritten { product = try made("the product for \(name)", elements, nil, probe.type) }
        if along == index { direction = try made("the direction for \(name)", elements, vector, probe.type) }
      }
      gradients.append(gradient)
      products.append(product)
    }
    var (states, newStates): ([GuardedArray], [GuardedArray?]) = ([], [])
    for state in descriptor.states {
      let elements = probe.shape(state).count
      let initial = [Double](repeating: state.initial, count: elements)
      states.append(try made("the state \(state.name)", elements, initial, probe.type))
      if case .gradients = wanted {
        newStates.append(try made("the new state \(state.name)", elements, nil, probe.type))
      } else {
        newStates.append(nil)
      }
    }
    (self.inputs, self.gradients, self.products, self.direction) = (inputs, gradients, products, direction)
    (self.states, self.newStates) = (states, newStates)
    let shapes = descriptor.inputs.map { probe.shape($0) }
    let stateShapes = descriptor.states.map { probe.shape($0) }
    var directions = [GuardedArray?](repeating: nil, count: inputs.count)
    if case .products(let along, _) = wanted { directions[along] = direction }
    lists = [
      try ProbeCall.structs("the list of inputs", inputs, shapes),
      try ProbeCall.pointers("the list of gradients", gradients),
      try ProbeCall.structs("the list of states", states, stateShapes),
      try ProbeCall.pointers("the list of new states", newStates),
      try ProbeCall.pointers("the list of directions", directions),
      try ProbeCall.pointers("the list of products", products),
    ]
  }

  private static func structs(
    _ name: String, _ arrays: [GuardedArray?], _ shapes: [Shape]
  ) throws(TemperError) -> GuardedArray {
    let stride = unsafe MemoryLayout<temper_plugin_array>.stride
    let list = try GuardedArray(name, byteCount: arrays.count * stride)
    for (index, array) in arrays.enumerated() {
      var item = unsafe foreignArray(try Tensor(zeros: []).broadcast(to: shapes[index]), rank: shapes[index].rank)
      unsafe item.data = unsafe array.map { unsafe UnsafeRawPointer($0.pointer) }
      unsafe list.pointer.storeBytes(of: item, toByteOffset: index * stride, as: temper_plugin_array.self)
    }
    list.makeReadOnly()
    return list
  }

  private static func pointers(_ name: String, _ arrays: [GuardedArray?]) throws(TemperError) -> GuardedArray {
    let list = try GuardedArray(name, byteCount: arrays.count * 8)
    for (index, array) in arrays.enumerated() {
      unsafe list.pointer.storeBytes(
        of: array.map { unsafe $0.pointer }, toByteOffset: index * 8, as: unsafe UnsafeMutableRawPointer?.self)
    }
    list.makeReadOnly()
    return list
  }

  var results: [GuardedArray] { [values] + (gradients + products + newStates).compactMap { $0 } }
  var arrays: [GuardedArray] { results + (inputs + [direction]).compactMap { $0 } + states + lists }

  func call(_ parameters: ParameterValues, _ type: DType) -> temper_loss_call {
    func pointers(_ list: Int) -> UnsafeMutablePointer<UnsafeMutableRawPointer?> {
      unsafe lists[list].pointer.assumingMemoryBound(to: UnsafeMutableRawPointer?.self)
    }
    var call = unsafe temper_loss_call()
    unsafe call.struct_size = unsafe UInt32(MemoryLayout<temper_loss_call>.size)
    unsafe call.dtype = type == .float64 ? TEMPER_PLUGIN_FLOAT64 : TEMPER_PLUGIN_FLOAT32
    unsafe (call.count, call.input_count, call.state_count) = (Int64(count), UInt64(inputs.count), UInt64(states.count))
    unsafe call.inputs = unsafe UnsafePointer(lists[0].pointer.assumingMemoryBound(to: temper_plugin_array.self))
    unsafe call.states = unsafe UnsafePointer(lists[2].pointer.assumingMemoryBound(to: temper_plugin_array.self))
    unsafe (call.parameters, call.values) = unsafe (UnsafePointer(parameters.pointer), values.pointer)
    unsafe (call.gradients, call.new_states) = unsafe (UnsafePointer(pointers(1)), UnsafePointer(pointers(3)))
    if direction != nil {
      unsafe call.directions = unsafe UnsafePointer(lists[4].pointer.assumingMemoryBound(to: UnsafeRawPointer?.self))
      unsafe call.products = unsafe UnsafePointer(pointers(5))
    }
    return unsafe call
  }
}
