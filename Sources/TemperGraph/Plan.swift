import TemperCore
import TemperKernels

/// One result of a plan.
package struct Output: Sendable {
  package let expression: Expression
  /// The input whose memory receives the result, once nothing reads its old value any more.
  package let inPlaceOf: String?
  package init(_ expression: Expression, inPlaceOf input: String? = nil) {
    (self.expression, self.inPlaceOf) = (expression, input)
  }
}

/// Expressions turned into steps over one arena: fused, ordered, laid out. Made once per shape, immutable, shareable.
package final class Plan: Sendable {
  package let type: DType
  /// Inputs that the outputs depend on, in order of first use.
  package let inputs: [(name: String, shape: Shape, kind: Kind)]
  package let outputs: [Output]
  let steps: [Step]
  let buffers: [Buffer]
  let arenaBytes: Int

  /// `type` is float32 or float64. Errors carried by the expressions are thrown here.
  package init(_ outputs: [Output], type: DType = .float32) throws(TemperError) {
    guard type.isFloating else {
      throw TemperError(.invalidType, "A plan works in float32 or float64, not \(type.name).")
    }
    let values = try Values(outputs.map(\.expression))
    var inputs: [(name: String, shape: Shape, kind: Kind)] = []
    var builder = try StepBuilder(values)
    for (number, value) in values.list.enumerated() {
      guard case .input(let name) = value.operation else { continue }
      guard !inputs.contains(where: { $0.name == name }) else {
        throw TemperError(.invalidArgument, "Input \"\(name)\" was declared with two shapes or kinds.")
      }
      builder.place(number, at: .input(inputs.count))
      inputs.append((name, value.shape, value.kind))
    }
    try PlaceOutputs.run(outputs, values, inputs.map(\.name), &builder)
    self.type = type
    self.inputs = inputs
    self.outputs = outputs
    steps = builder.steps
    (buffers, arenaBytes) = Arena.lay(out: builder.buffers, for: builder.steps, elementBytes: type.byteCount)
  }

  /// Elements of memory between the steps, for reports.
  package var memoryBytes: Int { arenaBytes }
  package var stepCount: Int { steps.count }
}

/// Lets the last step of each output write where the result is wanted; copies where it cannot.
enum PlaceOutputs {
  static func run(
    _ outputs: [Output], _ values: Values, _ inputNames: [String], _ builder: inout StepBuilder
  ) throws(TemperError) {
    var claimed = Set<Int>()
    var copies: [(view: View, place: Buffer.Place)] = []
    for (index, output) in outputs.enumerated() {
      var place = Buffer.Place.output(index)
      let view = values.views[values.outputs[index]]
      if let name = output.inPlaceOf {
        // An input that nothing reads has no place in the plan; its result is then an output like others.
        guard let input = inputNames.firstIndex(of: name) else {
          throw TemperError(.invalidArgument, "There is no input \"\(name)\" to write in place.")
        }
        guard !outputs[..<index].contains(where: { $0.inPlaceOf == name }) else {
          throw TemperError(.invalidArgument, "Two outputs are to be written in place of \"\(name)\".")
        }
        let root = builder.buffers.firstIndex { $0.place == .input(input) }!
        guard values[root].shape.count == output.expression.shape.count, values[root].kind == output.expression.kind
        else {
          throw TemperError(
            .invalidShape, "\"\(name)\" of shape \(values[root].shape) cannot hold \(output.expression.shape).")
        }
        place = .input(input)
        if view.root == root && view.isDense && view.offset == 0 { continue }  // unchanged
        let isShown = values.outputs.contains { values.views[$0].root == root }
        if isShown || !mayOverwrite(root, from: view.root, builder) {
          copies.append((view, place))
          continue
        }
      }
      let role = builder.clusters.roles[view.root]
      let whole = view.isDense && view.offset == 0 && view.sizes.reduce(1, *) == values[view.root].shape.count
      if whole, role == .fused || role == .step || role == .constant, claimed.insert(view.root).inserted {
        builder.place(view.root, at: place)
      } else {
        copies.append((view, place))
      }
    }
    // First everything is read that a write into an input may destroy, then inputs are written.
    var last: [Step] = []
    for (view, place) in copies where view.sizes.reduce(1, *) > 0 {
      let (count, kind) = (view.sizes.reduce(1, *), builder.buffers[view.root].kind)
      let target = builder.addBuffer(count: count, kind: kind)
      builder.place(target, at: place)
      guard case .input = place else {
        builder.append(builder.copying(view, to: target))
        continue
      }
      let kept = builder.addBuffer(count: count, kind: kind)
      builder.append(builder.copying(view, to: kept))
      let source = View(root: kept, sizes: view.sizes, strides: Shape(view.sizes).denseStrides)
      last.append(builder.copying(source, to: target))
    }
    for step in last { builder.append(step) }
  }

  /// Whether the step that makes `value` may write over the input `root`: no later step reads it, and its own step
  /// reads each element before it writes it.
  private static func mayOverwrite(_ root: Int, from value: Int, _ builder: StepBuilder) -> Bool {
    guard let maker = builder.steps.firstIndex(where: { $0.writes.contains(value) }) else { return false }
    for (index, step) in builder.steps.enumerated() where step.reads.contains(root) {
      if index > maker { return false }
      guard index == maker else { continue }
      guard case .rows(let program) = step.work else { return false }
      guard let target = program.slots.first(where: { $0.view.root == value }),
        let stored = program.instructions.firstIndex(where: {
          $0.op == TEMPER_STORE && program.slots[Int($0.slot)].view.root == value
        })
      else { return false }
      for (order, instruction) in program.instructions.enumerated() where instruction.op == TEMPER_LOAD {
        let slot = program.slots[Int(instruction.slot)]
        guard slot.view.root == root else { continue }
        if slot.view.strides != target.view.strides || slot.view.offset != 0 || order > stored { return false }
      }
    }
    return true
  }
}

/// Lays the buffers of a plan out in one block of memory: those that live at the same time do not overlap.
enum Arena {
  static func lay(out buffers: [Buffer], for steps: [Step], elementBytes: Int) -> ([Buffer], Int) {
    var buffers = buffers
    var lives: [Int: ClosedRange<Int>] = [:]
    for (time, step) in steps.enumerated() {
      for buffer in step.reads + step.writes {
        guard case .arena = buffers[buffer].place else { continue }
        lives[buffer] = (lives[buffer]?.lowerBound ?? time)...time
      }
    }
    func bytes(_ buffer: Int) -> Int {
      let size = buffers[buffer].count * (buffers[buffer].kind == .index ? 4 : elementBytes)
      return (size + 63) & ~63
    }
    var placed: [(life: ClosedRange<Int>, offset: Int, end: Int)] = []
    var total = 0
    for (buffer, life) in lives.inOrder({ (bytes($0.key), $1.key) > (bytes($1.key), $0.key) }) {
      let size = bytes(buffer)
      var offset = 0
      for other in placed where other.life.overlaps(life) {
        if offset + size <= other.offset { break }
        offset = max(offset, other.end)
      }
      let position = placed.firstIndex { $0.offset > offset } ?? placed.count
      placed.insert((life, offset, offset + size), at: position)
      buffers[buffer].place = .arena(offset: offset)
      total = max(total, offset + size)
    }
    return (buffers, total)
  }
}
