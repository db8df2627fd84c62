import CTemper
import TemperCatalogue
import TemperCore

/// Calls a FUNCTION loss in a child process, in guarded memory, before it is used: whether it stays inside its arrays,
/// writes all of them, gives finite numbers, treats samples one by one, and has the gradient of its value.
struct FunctionProbe {
  let function: any BatchFunction
  let descriptor: LossDescriptor
  /// Whether the gradient is one of finite differences itself.
  let isNumerical: Bool
  let milliseconds: Int32
  private(set) var lines: [String] = []

  init(_ function: any BatchFunction, _ descriptor: LossDescriptor, isNumerical: Bool, milliseconds: Int32) {
    (self.function, self.descriptor, self.isNumerical) = (function, descriptor, isNumerical)
    self.milliseconds = milliseconds
  }

  mutating func run() throws(TemperError) {
    if !function.worksInChild { lines.append("called in this process: its threads do not outlive a fork") }
    let hasOptional = descriptor.inputs.contains(where: \.isOptional)
    for probe in ProbeCase.all(function.precisions.types, hasOptional: hasOptional) {
      let title = "\(probe.type.name), \(probe.title)"
      do throws(TemperError) { try run(probe, title) } catch {
        var error = error
        error.message = "The probe (\(title)) failed: \(error.message)"
        throw error
      }
    }
  }

  private mutating func run(_ probe: ProbeCase, _ title: String) throws(TemperError) {
    var random = Random(seed: 1, stream: descriptor.name)
    let present = descriptor.inputs.map { !$0.isOptional || probe.hasOptional }
    var inputs: [[Double]] = []
    for (input, range) in zip(descriptor.inputs, descriptor.ranges) {
      inputs.append(probe.values(input, range, &random))
    }
    let base = try ProbeCall(descriptor, probe, present, inputs, wantsGradients: true)
    var calls = [base, try ProbeCall(descriptor, probe, present, inputs, wantsGradients: false)]
    var changes: [Change] = []
    if probe.checksGradient {
      changes = try changedCalls(probe, present, inputs)
      calls += changes.flatMap { $0.calls }
    }
    try run(calls, probe)
    try check(base, probe)
    if probe.isNotANumber {
      lines.append("\(title): returns, and stays inside its arrays")
      return
    }
    try checkFinite(base, probe)
    guard calls[1].values.numbers(as: probe.type) == base.values.numbers(as: probe.type) else {
      throw TemperError(.pluginFailed, "A second call with the same inputs, without gradients, gives other values.")
    }
    lines.append("\(title): stays inside its arrays, writes all of them, finite, the same when called again")
    for change in changes { lines.append("\(title): " + (try change.verdict(base, probe, isNumerical: isNumerical))) }
  }

  /// Runs the calls one after the other in one child.
  private func run(_ calls: [ProbeCall], _ probe: ProbeCase) throws(TemperError) {
    let parameters = ParameterValues(descriptor.parameters, try Arguments([], for: descriptor.parameters))
    let messages = try GuardedArray("the probe's own memory", byteCount: 2048)
    messages.write("")
    var structs: [temper_loss_call] = unsafe []
    for call in calls { unsafe structs.append(call.call(parameters, probe.type)) }
    func callAll() -> Int32 {
      for index in unsafe structs.indices {
        do throws(TemperError) { try unsafe function.evaluate(structs[index]) } catch {
          messages.write(error.message)
          return 1
        }
      }
      return 0
    }
    let lost = function.isolation?.losses
    let failed =
      function.isolation != nil || !function.worksInChild
      ? callAll()
      : try isolated(
        milliseconds: milliseconds, arrays: calls.flatMap(\.arrays) + [messages], fork: function.fork, callAll)
    if failed != 0 {
      // With inputs that are not numbers an error is a right answer.
      if probe.isNotANumber && lost == function.isolation?.losses { return }
      throw TemperError(.pluginFailed, messages.text)
    }
  }

  private func check(_ call: ProbeCall, _ probe: ProbeCase) throws(TemperError) {
    for array in call.arrays where !array.isCanaryAlive {
      throw TemperError(.pluginFailed, "It wrote before the start of \(array.name).")
    }
    if probe.isNotANumber { return }
    for array in call.results {
      if let position = array.untouched(width: probe.type.byteCount) {
        throw TemperError(.pluginFailed, "It left element \(position) of \(array.name) unwritten.")
      }
    }
  }

  private func checkFinite(_ call: ProbeCall, _ probe: ProbeCase) throws(TemperError) {
    for array in call.results {
      if let position = array.numbers(as: probe.type).firstIndex(where: { !$0.isFinite }) {
        throw TemperError(
          .pluginFailed,
          "It gave \(array.numbers(as: probe.type)[position]) at element \(position) of \(array.name), from ordinary inputs."
        )
      }
    }
  }

  /// For each input with a gradient: calls with one column moved up and down in all samples, and one call with only the
  /// first sample moved.
  private func changedCalls(
    _ probe: ProbeCase, _ present: [Bool], _ inputs: [[Double]]
  ) throws(TemperError) -> [Change] {
    var changes: [Change] = []
    for (index, input) in descriptor.inputs.enumerated() where input.isDifferentiable && present[index] {
      let width = max(inputs[index].count / probe.samples, 1)
      let range = descriptor.ranges[index]
      let step = (range.upperBound - range.lowerBound) / 4 * (probe.type == .float64 ? 0x1p-17 : 0x1p-7)
      func moved(_ columns: Range<Int>, rows: Range<Int>, by step: Double) throws(TemperError) -> ProbeCall {
        var changed = inputs
        for row in rows {
          for column in columns {
            let value = changed[index][row * width + column] + step
            changed[index][row * width + column] = probe.type == .float64 ? value : Double(Float(value))
          }
        }
        return try ProbeCall(descriptor, probe, present, changed, wantsGradients: false)
      }
      var sides: [(up: ProbeCall, down: ProbeCall)] = []
      for column in 0..<min(width, 32) {
        sides.append(
          (
            try moved(column..<(column + 1), rows: 0..<probe.samples, by: step),
            try moved(column..<(column + 1), rows: 0..<probe.samples, by: -step)
          ))
      }
      let alone = try moved(0..<width, rows: 0..<1, by: (range.upperBound - range.lowerBound) / 8)
      changes.append(Change(input: index, name: input.name, width: width, sides: sides, alone: alone))
    }
    return changes
  }
}

/// The arrays of one call, guarded.
struct ProbeCall {
  let inputs: [GuardedArray?]
  let values: GuardedArray
  let gradients: [GuardedArray?]
  private let structs: GuardedArray
  private let pointers: GuardedArray
  private let count: Int
  /// As the function saw them, after rounding.
  let numbers: [[Double]]

  init(
    _ descriptor: LossDescriptor, _ probe: ProbeCase, _ present: [Bool], _ numbers: [[Double]], wantsGradients: Bool
  ) throws(TemperError) {
    (self.numbers, count) = (numbers, probe.samples)
    var (inputs, gradients): ([GuardedArray?], [GuardedArray?]) = ([], [])
    let stride = unsafe MemoryLayout<temper_plugin_array>.stride
    structs = try GuardedArray("the list of inputs", byteCount: descriptor.inputs.count * stride)
    pointers = try GuardedArray("the list of gradients", byteCount: descriptor.inputs.count * 8)
    values = try GuardedArray("the values", byteCount: probe.samples * probe.type.byteCount)
    for (index, input) in descriptor.inputs.enumerated() {
      let shape = probe.shape(input)
      let type = probe.elementType(input)
      var array: GuardedArray?
      var gradient: GuardedArray?
      if present[index] {
        let made = try GuardedArray("the input \(input.name)", byteCount: shape.count * type.byteCount)
        made.fill(numbers[index], as: type)
        made.makeReadOnly()
        array = made
        if wantsGradients && input.isDifferentiable {
          gradient = try GuardedArray("the gradient for \(input.name)", byteCount: shape.count * type.byteCount)
        }
      }
      inputs.append(array)
      gradients.append(gradient)
      var item = unsafe foreignArray(try Tensor(zeros: []).broadcast(to: shape), rank: shape.rank)
      unsafe item.data = array.map { unsafe UnsafeRawPointer($0.pointer) }
      unsafe structs.pointer.storeBytes(of: item, toByteOffset: index * stride, as: temper_plugin_array.self)
      unsafe pointers.pointer.storeBytes(
        of: gradient.map { unsafe $0.pointer }, toByteOffset: index * 8, as: UnsafeMutableRawPointer?.self)
    }
    (self.inputs, self.gradients) = (inputs, gradients)
    structs.makeReadOnly()
    pointers.makeReadOnly()
  }

  var results: [GuardedArray] { [values] + gradients.compactMap { $0 } }
  var arrays: [GuardedArray] { results + inputs.compactMap { $0 } + [structs, pointers] }

  @unsafe func call(_ parameters: ParameterValues, _ type: DType) -> temper_loss_call {
    unsafe temper_loss_call(
      struct_size: UInt32(MemoryLayout<temper_loss_call>.size),
      dtype: type == .float64 ? TEMPER_PLUGIN_FLOAT64 : TEMPER_PLUGIN_FLOAT32, count: Int64(count),
      input_count: UInt64(inputs.count),
      inputs: structs.pointer.assumingMemoryBound(to: temper_plugin_array.self),
      parameters: parameters.pointer, values: values.pointer,
      gradients: pointers.pointer.assumingMemoryBound(to: UnsafeMutableRawPointer?.self), message: temper_message())
  }
}

/// The calls that tell the derivative for one input.
struct Change {
  let input: Int
  let name: String
  let width: Int
  let sides: [(up: ProbeCall, down: ProbeCall)]
  let alone: ProbeCall

  var calls: [ProbeCall] { sides.flatMap { [$0.up, $0.down] } + [alone] }

  /// A line for the report, or an error that says where gradient and finite difference part.
  func verdict(_ base: ProbeCall, _ probe: ProbeCase, isNumerical: Bool) throws(TemperError) -> String {
    let type = probe.type
    let values = base.values.numbers(as: type)
    let movedAlone = alone.values.numbers(as: type)
    let epsilon = type == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne)
    for sample in 1..<max(probe.samples, 1)
    where Swift.abs(movedAlone[sample] - values[sample]) > 1e3 * epsilon * Swift.max(1, Swift.abs(values[sample])) {
      throw TemperError(
        .pluginFailed,
        "The value of sample \(sample) changes from \(values[sample]) to \(movedAlone[sample]) when only sample 0 of \(name) does; losses of this form are by sample."
      )
    }
    guard let gradient = base.gradients[input]?.numbers(as: type) else { return "\(name): no gradient was asked for" }
    if isNumerical { return "\(name): samples one by one; gradient by finite differences of its values" }
    var largest = 0.0
    for (column, side) in sides.enumerated() {
      let (up, down) = (side.up.values.numbers(as: type), side.down.values.numbers(as: type))
      for sample in 0..<probe.samples {
        let place = sample * width + column
        let x = base.numbers[input][place]
        let (ahead, behind) = (side.up.numbers[input][place] - x, x - side.down.numbers[input][place])
        let (right, left) = ((up[sample] - values[sample]) / ahead, (values[sample] - down[sample]) / behind)
        let central = (up[sample] - down[sample]) / (ahead + behind)
        // Rounding of the values over the step, and curvature; at a kink any slope between the two sides is right.
        let scale = [values[sample], up[sample], down[sample], 1].map { Swift.abs($0) }.max() ?? 1
        let size = Swift.max(Swift.abs(central), Swift.abs(gradient[place]))
        let slack = 8 * epsilon * scale / (ahead + behind) + (type == .float64 ? 1e-5 : 1e-2) * size + 1e-4
        let isBetween =
          gradient[place] >= Swift.min(left, right) - slack && gradient[place] <= Swift.max(left, right) + slack
        guard Swift.abs(central - gradient[place]) <= slack || isBetween else {
          throw TemperError(
            .pluginFailed,
            "Its gradient for \(name) is not that of its value: at sample \(sample), element \(column) it gives \(gradient[place]), and the finite difference is \(central)."
          )
        }
        largest = Swift.max(largest, Swift.abs(central - gradient[place]) / Swift.max(size, 1))
      }
    }
    return
      "\(name): samples one by one; gradient as finite differences, largest deviation \(Float(largest)) over \(sides.count * probe.samples) elements"
  }
}
