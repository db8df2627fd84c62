import TemperCore
import TemperKernels

/// One thing that a plan does when it runs, and the buffers it touches.
struct Step {
  enum Work {
    case rows(RowProgram)
    case matmul(MatrixProduct)
    /// A kernel over dense inputs.
    case kernel(Operation, inputs: [View], output: View)
    /// `outputs[k]` is the buffer of output k, if anyone wants it.
    case external(ExternalFunction, inputs: [View], outputs: [View?])
    case custom(CustomOperation, inputs: [View], outputs: [View?])
  }

  var work: Work
  var reads: [Int]
  var writes: [Int]
}

/// Strides of a batched product, in elements.
struct MatrixProduct {
  var m: Int, n: Int, k: Int, batch: Int
  var a: View, aStrides: (row: Int, column: Int, batch: Int)
  var b: View, bStrides: (row: Int, column: Int, batch: Int)
}

/// A buffer that a plan reads or writes: the memory of a root value, or of a copy.
struct Buffer {
  var count: Int
  var kind: Kind
  var place = Place.arena(offset: 0)

  enum Place: Hashable {
    case arena(offset: Int)
    case input(Int)
    case output(Int)
  }
}

/// Orders the work of a set of outputs into steps.
struct StepBuilder {
  let values: Values
  let clusters: Clusters
  private(set) var steps: [Step] = []
  private(set) var buffers: [Buffer]
  /// Steps that stand ready to be put in order: (level, whether fused, first value).
  private var pending: [(level: Int, fused: Int, first: Int, steps: [Step])] = []

  init(_ values: Values) throws(TemperError) {
    self.values = values
    clusters = Clusters(values)
    buffers = values.list.map { Buffer(count: $0.shape.count, kind: $0.kind) }
    for index in clusters.clusters.indices {
      guard let program = try RowLowering.lower(clusters, cluster: index), program.rows * program.columns > 0 else {
        continue
      }
      let cluster = clusters.clusters[index]
      pending.append((cluster.level, 1, cluster.members[0], [StepBuilder.step(program)]))
    }
    var done: Set<[Int]> = []
    for number in 0..<values.count {
      switch clusters.roles[number] {
      case .step:
        let siblings = siblings(of: number)
        if siblings.count > 1, !done.insert(siblings).inserted { continue }
        pending.append((clusters.levels[number], 0, number, try stepsOf(number)))
      case .constant where clusters.inMemory.contains(number):
        let fill = StepBuilder.filling(number, values.constant(number)!, count: values[number].shape.count)
        pending.append((0, 0, number, [StepBuilder.step(fill)]))
      default: break
      }
    }
    pending.sort { ($0.level, $0.fused, $0.first) < ($1.level, $1.fused, $1.first) }
    steps = pending.flatMap(\.steps)
  }

  /// A new buffer beside those of the values.
  mutating func addBuffer(count: Int, kind: Kind) -> Int {
    buffers.append(Buffer(count: count, kind: kind))
    return buffers.count - 1
  }

  mutating func place(_ buffer: Int, at place: Buffer.Place) { buffers[buffer].place = place }

  mutating func append(_ step: Step) { steps.append(step) }

  /// A step that copies what a view shows into a dense buffer.
  func copying(_ view: View, to buffer: Int) -> Step {
    let dense = View(root: buffer, sizes: view.sizes, strides: Shape(view.sizes).denseStrides)
    return Step(
      work: .kernel(.reshape, inputs: [view], output: dense), reads: [view.root], writes: [buffer])
  }

  static func filling(_ buffer: Int, _ value: Double, count: Int) -> RowProgram {
    var program = RowProgram(outer: [], columns: count)
    program.registers = [UInt8(TEMPER_REGISTER_FULL)]
    program.slots = [.init(view: View(root: buffer, sizes: [count], strides: [1]), element: .real)]
    let none = Int16(TEMPER_IMMEDIATE)
    program.instructions = [
      temper_instruction(op: TEMPER_FILL, phase: 0, dst: 0, a: none, b: none, c: none, slot: -1, immediate: value),
      temper_instruction(op: TEMPER_STORE, phase: 0, dst: -1, a: 0, b: none, c: none, slot: 0, immediate: 0),
    ]
    program.stored = [buffer]
    return program
  }

  static func step(_ program: RowProgram) -> Step {
    let stored = Set(program.stored)
    let read = Set(program.slots.map(\.view.root)).subtracting(stored)
    return Step(work: .rows(program), reads: read.inOrder(<), writes: program.stored)
  }

  /// The values that one call gives together with this one, itself included, in order.
  private func siblings(of number: Int) -> [Int] {
    let maker: AnyHashable
    switch values[number].operation {
    case .external(let function, _): maker = function
    case .custom(let operation, _): maker = operation
    default: return [number]
    }
    return (0..<values.count).filter { other in
      switch values[other].operation {
      case .external(let function, _): maker == AnyHashable(function) && values[other].inputs == values[number].inputs
      case .custom(let operation, _): maker == AnyHashable(operation) && values[other].inputs == values[number].inputs
      default: false
      }
    }
  }

  private func outputNumber(of number: Int) -> Int {
    switch values[number].operation {
    case .external(_, let output), .custom(_, let output): output
    default: 0
    }
  }

  private func views(of siblings: [Int], count: Int) -> [View?] {
    var views = [View?](repeating: nil, count: count)
    for sibling in siblings { views[outputNumber(of: sibling)] = values.views[sibling] }
    return views
  }

  /// The step of one value, after the copies that its kernel's dense inputs take.
  private mutating func stepsOf(_ number: Int) throws(TemperError) -> [Step] {
    let value = values[number]
    let output = values.views[number]
    guard value.shape.count > 0 else { return [] }
    var before: [Step] = []
    if case .matmul(let ta, let tb) = value.operation {
      let product = matrixProduct(value, ta, tb, &before)
      return before + [
        Step(work: .matmul(product), reads: [product.a.root, product.b.root], writes: [number])
      ]
    }
    if case .reshape = value.operation { return [copying(values.views[value.inputs[0]], to: number)] }
    if case .concatenate(let axis) = value.operation {
      // Each part is copied into its place.
      var start = 0
      return value.inputs.compactMap { input in
        let part = values[input].shape
        defer { start += part[axis] }
        let target = View(
          root: number, offset: start * output.strides[axis], sizes: part.sizes, strides: output.strides)
        let source = values.views[input]
        return part.count == 0
          ? nil
          : Step(work: .kernel(.reshape, inputs: [source], output: target), reads: [source.root], writes: [number])
      }
    }
    let inputs = value.inputs.map { dense(values.views[$0], &before) }
    let reads = inputs.map(\.root)
    switch value.operation {
    case .external(let function, _):
      let siblings = siblings(of: number)
      let outputs = views(of: siblings, count: function.differentiable.count + 1)
      return before + [
        Step(work: .external(function, inputs: inputs, outputs: outputs), reads: reads, writes: siblings)
      ]
    case .custom(let custom, _):
      let siblings = siblings(of: number)
      let count = siblings.reduce(0) { max($0, outputNumber(of: $1) + 1) }
      let outputs = views(of: siblings, count: count)
      return before + [Step(work: .custom(custom, inputs: inputs, outputs: outputs), reads: reads, writes: siblings)]
    default:
      return before + [
        Step(work: .kernel(value.operation, inputs: inputs, output: output), reads: reads, writes: [number])
      ]
    }
  }

  private mutating func dense(_ view: View, _ before: inout [Step]) -> View {
    if view.isDense { return view }
    let buffer = addBuffer(count: view.sizes.reduce(1, *), kind: buffers[view.root].kind)
    before.append(copying(view, to: buffer))
    return View(root: buffer, sizes: view.sizes, strides: Shape(view.sizes).denseStrides)
  }

  private mutating func matrixProduct(
    _ value: Value, _ transposeA: Bool, _ transposeB: Bool, _ before: inout [Step]
  ) -> MatrixProduct {
    let (a, aBatch) = batched(values.views[value.inputs[0]], &before)
    let (b, bBatch) = batched(values.views[value.inputs[1]], &before)
    let rank = value.shape.rank
    func strides(_ view: View, _ transpose: Bool, _ batch: Int) -> (row: Int, column: Int, batch: Int) {
      let (outer, inner) = (view.strides[view.strides.count - 2], view.strides[view.strides.count - 1])
      return transpose ? (inner, outer, batch) : (outer, inner, batch)
    }
    let k = transposeA ? a.sizes[a.sizes.count - 2] : a.sizes[a.sizes.count - 1]
    return MatrixProduct(
      m: value.shape[rank - 2], n: value.shape[rank - 1], k: k, batch: value.shape.sizes.dropLast(2).reduce(1, *),
      a: a, aStrides: strides(a, transposeA, aBatch), b: b, bStrides: strides(b, transposeB, bBatch))
  }

  /// The view if its leading axes are one axis with one stride, else a dense copy; with that stride.
  private mutating func batched(_ view: View, _ before: inout [Step]) -> (View, Int) {
    let lead = zip(view.sizes, view.strides).dropLast(2).filter { $0.0 != 1 }
    var regular = true
    for (outer, inner) in zip(lead, lead.dropFirst()) where outer.1 != inner.1 * inner.0 { regular = false }
    if regular { return (view, lead.last?.1 ?? 0) }
    let copy = dense(View(root: view.root, offset: view.offset, sizes: view.sizes, strides: view.strides), &before)
    return (copy, copy.strides[copy.strides.count - 3])
  }
}
