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
    let base = try ProbeCall(descriptor, probe, present, inputs, .gradients)
    var calls = [base, try ProbeCall(descriptor, probe, present, inputs, .values)]
    var changes: [Change] = []
    var turns: [Turn] = []
    if probe.checksGradient {
      changes = try changedCalls(probe, present, inputs)
      calls += changes.flatMap { $0.calls }
      if descriptor.hasProducts {
        for index in descriptor.inputs.indices where descriptor.inputs[index].isDifferentiable && present[index] {
          turns.append(try Turn(descriptor, probe, present, inputs, index, &random))
        }
        calls += turns.flatMap { $0.calls }
      }
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
    for turn in turns {
      try check(turn.products, probe)
      lines.append("\(title): " + (try turn.verdict(probe)))
    }
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
        return try ProbeCall(descriptor, probe, present, changed, .values)
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
