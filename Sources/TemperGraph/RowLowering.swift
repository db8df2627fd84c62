import TemperCore
import TemperKernels

/// A cluster as a row program: what the interpreter in `row_program.h` runs.
struct RowProgram {
  /// Where an input or output of the program lies, in elements from the start of a buffer.
  struct Slot: Hashable {
    var view: View
    var element: Kind
    var isClock = false
  }

  var outer: [Int]
  var columns: Int
  var instructions: [temper_instruction] = []
  var registers: [UInt8] = []
  var slots: [Slot] = []
  var phases = 1
  /// Values that the program writes.
  var stored: [Int] = []
  /// Whether rows must be run whole.
  var needsWholeRows = false

  var rows: Int { outer.reduce(1, *) }
}

/// Turns one cluster into a row program.
struct RowLowering {
  private enum Operand {
    case none
    case register(Int)
    case immediate(Double)
  }

  /// An instruction over registers that are written once.
  private struct Draft {
    var op: temper_opcode
    var phase = 0
    var result: Int?
    var operands: [Operand] = []
    var slot = -1
    var immediate: Double?
  }

  private struct Register {
    var isRow: Bool
    /// First phase in which it can be read.
    var ready: Int
    /// The one instruction that reads and writes nothing else, if it can be absorbed.
    var draft: Int?
  }

  private let clusters: Clusters
  private let number: Int
  private let space: Shape
  private var drafts: [Draft] = []
  private var registers: [Register] = []
  private var registerOf: [Int: Int] = [:]
  private var loads: [Load: Int] = [:]
  private var repeated: [Again: Int] = [:]
  /// Of registers that repeat another's value: that other one.
  private var originals: [Int: Int] = [:]
  private var constants: [UInt64: Int] = [:]
  private var program: RowProgram
  private var uses: [Int: Int] = [:]

  private struct Load: Hashable {
    let slot: RowProgram.Slot
    let phase: Int
  }

  private struct Again: Hashable {
    let register: Int, phase: Int
  }

  /// Rows up to this length stay in registers across phases; longer ones are loaded anew.
  private static let blockColumns = 1024

  /// nil if nothing outside needs the cluster.
  static func lower(_ clusters: Clusters, cluster: Int) throws(TemperError) -> RowProgram? {
    var lowering = RowLowering(clusters, cluster)
    for member in clusters.clusters[cluster].members where clusters.inMemory.contains(member) {
      lowering.store(member)
    }
    return lowering.program.stored.isEmpty ? nil : try lowering.finish()
  }

  private init(_ clusters: Clusters, _ cluster: Int) {
    (self.clusters, number) = (clusters, cluster)
    var space = clusters.clusters[cluster].space
    // Values by row alone need no columns.
    let members = clusters.clusters[cluster].members
    if space.last != 1,
      members.allSatisfy({ clusters.values[$0].shape != space && !RowLowering.readsRow(clusters.values[$0]) })
    {
      space = Shape(space.sizes.dropLast() + [1])
    }
    self.space = space
    program = RowProgram(outer: Array(space.sizes.dropLast()), columns: space.last)
    for member in members {
      for input in clusters.values[member].inputs {
        if let source = clusters.isLocal(input, to: cluster) { uses[source, default: 0] += 1 }
      }
    }
  }

  private static func readsRow(_ value: Value) -> Bool {
    switch value.operation {
    case .reduce, .argument, .pick: true
    default: false
    }
  }

  // MARK: Values to registers

  private mutating func register(of value: Int) -> Int {
    if let known = registerOf[value] { return known }
    let register = emit(value)
    registerOf[value] = register
    return register
  }

  private mutating func operand(_ value: Int) -> Operand {
    if let constant = clusters.values.constant(value) { return .immediate(constant) }
    if let source = clusters.isLocal(value, to: number) { return .register(register(of: source)) }
    if let start = clusters.columnStart(value) {
      let column = new(.init(op: TEMPER_COLUMN), isRow: false, phase: 0)
      return .register(
        start == 0
          ? column
          : new(
            .init(op: TEMPER_ADD, operands: [.register(column), .immediate(Double(start))]), isRow: false, phase: 0))
    }
    return .register(load(value, phase: 0))
  }

  /// A register with the value's elements from memory, readable in `phase`.
  private mutating func load(_ value: Int, phase: Int) -> Int {
    let view = clusters.values.views[value]
    let slot = RowProgram.Slot(view: view, element: clusters.values[view.root].kind)
    let isRow = view.strides.last ?? 0 == 0 || view.sizes.last == 1
    let key = Load(slot: slot, phase: isRow || space.last <= RowLowering.blockColumns ? 0 : phase)
    if let known = loads[key] { return known }
    let index = slotIndex(slot)
    let register = new(.init(op: TEMPER_LOAD, slot: index), isRow: isRow && space.last != 1, phase: key.phase)
    loads[key] = register
    return register
  }

  private mutating func slotIndex(_ slot: RowProgram.Slot) -> Int {
    if let known = program.slots.firstIndex(of: slot) { return known }
    program.slots.append(slot)
    return program.slots.count - 1
  }

  private mutating func emit(_ value: Int) -> Int {
    let v = clusters.values[value]
    let isRow = v.shape != space && space.last != 1
    switch v.operation {
    case .constant(let constant): return fill(constant)
    case .iota: return new(.init(op: TEMPER_COLUMN), isRow: false, phase: 0)
    case .uniform(let stream):
      var slot = RowProgram.Slot(view: clusters.values.views[v.inputs[0]], element: .index)
      slot.isClock = true
      return new(
        .init(op: TEMPER_UNIFORM, slot: slotIndex(slot), immediate: Double(stream) * 0x1p40), isRow: false, phase: 0)
    case .unary(.exp): return exponential(v.inputs[0], isRow: isRow)
    case .unary(.softplus): return softplus(v, isRow: isRow)
    case .unary(let unary): return compute(unary.opcode, v.inputs, isRow: isRow)
    case .binary(.add):
      return placeAdd(v) ?? multiplyAdd(v, isRow: isRow) ?? compute(TEMPER_ADD, v.inputs, isRow: isRow)
    case .binary(.subtract):
      return subtractMultiple(v, isRow: isRow) ?? compute(TEMPER_SUBTRACT, v.inputs, isRow: isRow)
    case .binary(.maximum) where v.inputs[0] == v.inputs[1]:
      return compute(TEMPER_COPY, [v.inputs[0]], isRow: isRow)
    case .binary(let binary): return compute(binary.opcode, v.inputs, isRow: isRow)
    case .select: return compute(TEMPER_SELECT, selection(v.inputs), isRow: isRow)
    case .reduce(let reduction): return reduce(reduction.opcode, v.inputs)
    case .argument(let extremum):
      return reduce(extremum == .maximum ? TEMPER_ROW_ARGMAX : TEMPER_ROW_ARGMIN, v.inputs)
    case .pick: return reduce(TEMPER_PICK, v.inputs)
    case .place: return compute(TEMPER_PLACE, [v.inputs[1], v.inputs[0]], isRow: false)
    default: preconditionFailure("\(v.operation) is not fused")
    }
  }

  private mutating func compute(_ op: temper_opcode, _ inputs: [Int], isRow: Bool) -> Int {
    var operands: [Operand] = []
    for input in inputs { operands.append(operand(input)) }
    if [TEMPER_PICK, TEMPER_PLACE_ADD].contains(op) || RowLowering.reductions.contains(op) {
      operands[0] = full(operands[0])
    }
    return emit(op, operands, isRow: isRow)
  }

  /// x = 0 ? a : b is x ? b : a: the instruction itself compares with 0.
  private func selection(_ inputs: [Int]) -> [Int] {
    guard let test = clusters.isLocal(inputs[0], to: number), registerOf[test] == nil,
      case .binary(.equal) = clusters.values[test].operation,
      clusters.values.constant(clusters.values[test].inputs[1]) == 0
    else { return inputs }
    return [clusters.values[test].inputs[0], inputs[2], inputs[1]]
  }

  /// e^(x - r) for a value r by row has a difference for itself, right before it: the kernel makes one loop of both.
  private mutating func exponential(_ input: Int, isRow: Bool) -> Int {
    guard !isRow, let source = clusters.isLocal(input, to: number), uses[source, default: 0] > 1,
      case .binary(.subtract) = clusters.values[source].operation, clusters.values[source].shape == space
    else { return compute(TEMPER_EXP, [input], isRow: isRow) }
    let (x, shift) = (clusters.values[source].inputs[0], clusters.values[source].inputs[1])
    let operands = [operand(x), operand(shift)]
    guard case .register(let row) = operands[1], registers[row].isRow else {
      return compute(TEMPER_EXP, [input], isRow: false)
    }
    let difference = emit(TEMPER_SUBTRACT, operands, isRow: false)
    return emit(TEMPER_EXP, [.register(difference)], isRow: false)
  }

  /// softplus and, right after it, its derivative: the kernel makes one loop of both.
  private mutating func softplus(_ v: Value, isRow: Bool) -> Int {
    let result = compute(TEMPER_SOFTPLUS, v.inputs, isRow: isRow)
    if let slope = clusters.clusters[number].members.first(where: {
      clusters.values[$0].operation == .unary(.sigmoid) && clusters.values[$0].inputs == v.inputs
    }) {
      _ = register(of: slope)
    }
    return result
  }

  /// Places an instruction in the first phase in which its operands are ready, loading anew what that phase needs.
  private mutating func emit(_ op: temper_opcode, _ operands: [Operand], isRow: Bool) -> Int {
    let phase = readyPhase(operands)
    var operands = operands
    for (index, operand) in operands.enumerated() {
      if case .register(let register) = operand { operands[index] = .register(again(register, in: phase)) }
    }
    // What does not vary along the row is computed once a row.
    let varies = operands.contains {
      if case .register(let register) = $0 { !registers[register].isRow } else { false }
    }
    let isRow = isRow || space.last != 1 && !varies && op != TEMPER_PLACE
    return new(.init(op: op, operands: oneImmediate(operands)), isRow: isRow, phase: phase)
  }

  /// The value of a register in a later phase of a long row: loaded anew, or computed anew where that takes a few cheap
  /// operations on what is at hand then. To keep the whole row would take a store and a load.
  private mutating func again(_ register: Int, in phase: Int) -> Int {
    guard space.last > RowLowering.blockColumns, !registers[register].isRow, let at = registers[register].draft,
      drafts[at].phase < phase
    else { return register }
    let key = Again(register: originals[register] ?? register, phase: phase)
    if let known = repeated[key] { return known }
    var draft = drafts[at]
    if draft.op == TEMPER_LOAD {
      let load = Load(slot: program.slots[draft.slot], phase: phase)
      let result = loads[load] ?? new(draft, isRow: false, phase: phase)
      loads[load] = result
      return result
    }
    var kept = Set<Int>()
    var loaded = Set<Int>()
    guard let cost = costAgain(register, in: phase, &kept, &loaded), kept.count <= 1,
      cost + 2 * max(loaded.count - 1, 0) <= RowLowering.repeatedOperations
    else { return register }
    draft.operands = draft.operands.map {
      if case .register(let operand) = $0 { .register(again(operand, in: phase)) } else { $0 }
    }
    let result = new(draft, isRow: false, phase: phase)
    repeated[key] = result
    originals[result] = key.register
    return result
  }

  /// How many operations it takes to compute a register anew from what is `loaded` (slots), by row, or `kept` from an
  /// earlier phase; nil if it would have to be kept itself.
  private func costAgain(_ register: Int, in phase: Int, _ kept: inout Set<Int>, _ loaded: inout Set<Int>) -> Int? {
    guard !registers[register].isRow, let at = registers[register].draft, drafts[at].phase < phase else { return 0 }
    let draft = drafts[at]
    if draft.op == TEMPER_LOAD {
      loaded.insert(draft.slot)
      return 0
    }
    guard RowLowering.cheap.contains(draft.op) else { return nil }
    var cost = 1
    for case .register(let operand) in draft.operands {
      if let more = costAgain(operand, in: phase, &kept, &loaded) { cost += more } else { kept.insert(operand) }
    }
    return cost
  }

  private static let repeatedOperations = 2
  private static let cheap: [temper_opcode] = [
    TEMPER_NEGATE, TEMPER_ABS, TEMPER_SQUARE, TEMPER_NOT, TEMPER_ADD, TEMPER_SUBTRACT, TEMPER_MULTIPLY, TEMPER_MAXIMUM,
    TEMPER_MINIMUM, TEMPER_EQUAL, TEMPER_NOT_EQUAL, TEMPER_LESS, TEMPER_LESS_EQUAL, TEMPER_AND, TEMPER_OR,
    TEMPER_SELECT, TEMPER_MULTIPLY_ADD,
  ]

  /// A register with a value for every column.
  private mutating func full(_ operand: Operand) -> Operand {
    switch operand {
    case .register(let register) where !registers[register].isRow: operand
    default: .register(new(.init(op: TEMPER_COPY, operands: [operand]), isRow: false, phase: readyPhase([operand])))
    }
  }

  private func readyPhase(_ operands: [Operand]) -> Int {
    operands.reduce(0) { phase, operand in
      if case .register(let register) = operand { max(phase, registers[register].ready) } else { phase }
    }
  }

  private static let reductions = [
    TEMPER_ROW_SUM, TEMPER_ROW_MAX, TEMPER_ROW_MIN, TEMPER_ROW_PRODUCT, TEMPER_ROW_ARGMAX, TEMPER_ROW_ARGMIN,
  ]

  private mutating func reduce(_ op: temper_opcode, _ inputs: [Int]) -> Int {
    program.needsWholeRows = true
    let result = compute(op, inputs, isRow: true)
    registers[result].isRow = true
    registers[result].ready += 1
    return result
  }

  /// a * b + c in one instruction, where the product has no other reader.
  private mutating func multiplyAdd(_ v: Value, isRow: Bool) -> Int? {
    for (index, input) in v.inputs.enumerated() {
      guard let factors = soleProduct(input) else { continue }
      return compute(TEMPER_MULTIPLY_ADD, factors + [v.inputs[1 - index]], isRow: isRow)
    }
    return nil
  }

  /// a - s * b as (-s) * b + a, where s is one value for the row and the product has no other reader: an update rule's
  /// last step.
  private mutating func subtractMultiple(_ v: Value, isRow: Bool) -> Int? {
    guard !isRow, let product = soleProduct(v.inputs[1]) else { return nil }
    for (index, factor) in product.enumerated() {
      let scale: Operand
      switch operand(factor) {
      case .immediate(let value): scale = .immediate(-value)
      case .register(let register) where registers[register].isRow:
        scale = .register(
          new(.init(op: TEMPER_NEGATE, operands: [.register(register)]), isRow: true, phase: registers[register].ready))
      default: continue
      }
      let operands = [scale, operand(product[1 - index]), operand(v.inputs[0])]
      return emit(TEMPER_MULTIPLY_ADD, operands, isRow: false)
    }
    return nil
  }

  /// The factors of a product that only this reads.
  private func soleProduct(_ value: Int) -> [Int]? {
    guard case .binary(.multiply) = clusters.values[value].operation, uses[value] == 1,
      !clusters.inMemory.contains(value), clusters.isLocal(value, to: number) == value, registerOf[value] == nil
    else { return nil }
    return clusters.values[value].inputs
  }

  /// a + a value at one column of each row, without the row of zeros.
  private mutating func placeAdd(_ v: Value) -> Int? {
    for (index, input) in v.inputs.enumerated() {
      guard case .place = clusters.values[input].operation, !clusters.inMemory.contains(input),
        clusters.isLocal(input, to: number) == input, registerOf[input] == nil
      else { continue }
      let (other, place) = (v.inputs[1 - index], clusters.values[input])
      return compute(TEMPER_PLACE_ADD, [other, place.inputs[1], place.inputs[0]], isRow: false)
    }
    return nil
  }

  /// An instruction has room for one immediate; further constants get a register.
  private mutating func oneImmediate(_ operands: [Operand]) -> [Operand] {
    var seen = false
    var result = operands
    for (index, operand) in operands.enumerated() {
      guard case .immediate(let value) = operand else { continue }
      if seen { result[index] = .register(fill(value)) }
      seen = true
    }
    return result
  }

  private mutating func fill(_ value: Double) -> Int {
    if let known = constants[value.bitPattern] { return known }
    let register = new(.init(op: TEMPER_FILL, immediate: value), isRow: space.last != 1, phase: 0)
    constants[value.bitPattern] = register
    return register
  }

  private mutating func new(_ draft: Draft, isRow: Bool, phase: Int) -> Int {
    var draft = draft
    draft.phase = phase
    draft.result = registers.count
    for case .immediate(let value) in draft.operands { draft.immediate = value }
    registers.append(Register(isRow: isRow, ready: phase, draft: drafts.count))
    drafts.append(draft)
    return registers.count - 1
  }

  private mutating func store(_ value: Int) {
    let register = register(of: value)
    let slot = RowProgram.Slot(view: clusters.values.views[value], element: .real)
    drafts.append(
      Draft(
        op: TEMPER_STORE, phase: registers[register].ready, operands: [.register(register)], slot: slotIndex(slot)))
    program.stored.append(value)
  }

  // MARK: Registers to the program

  /// What stores need: a value that is computed anew where it is read may not be read where it was made first.
  private func registersRead() -> Set<Int> {
    var read = Set<Int>()
    for draft in drafts.reversed() where draft.result.map(read.contains) ?? true {
      for case .register(let register) in draft.operands { read.insert(register) }
    }
    return read
  }

  private mutating func finish() throws(TemperError) -> RowProgram {
    let read = registersRead()
    let order = drafts.indices.filter { drafts[$0].result.map(read.contains) ?? true }
      .inOrder { (drafts[$0].phase, $0) < (drafts[$1].phase, $1) }
    program.phases = (order.map { drafts[$0].phase }.max() ?? 0) + 1
    var lastUse = [Int](repeating: -1, count: registers.count)
    var carried = [Bool](repeating: false, count: registers.count)
    for (position, draft) in order.enumerated() {
      for case .register(let register) in drafts[draft].operands {
        lastUse[register] = position
        // Written in one phase and read in a later one: the whole row must be kept.
        if !registers[register].isRow, drafts[registers[register].draft!].phase < drafts[draft].phase {
          carried[register] = true
        }
      }
    }
    if program.phases > 1 || carried.contains(true) { program.needsWholeRows = true }
    // A place is added where the row is made, without a copy.
    for (position, draft) in order.enumerated()
    where drafts[draft].op == TEMPER_PLACE_ADD && carried[drafts[draft].result!] {
      if case .register(let row) = drafts[draft].operands[0], lastUse[row] == position,
        drafts[registers[row].draft!].op != TEMPER_LOAD
      {
        carried[row] = true
      }
    }

    var assigned = [Int](repeating: -1, count: registers.count)
    var free: [UInt8: [Int]] = [:]
    for (position, draft) in order.enumerated() {
      let d = drafts[draft]
      var operands: [Int16] = []
      for operand in d.operands {
        switch operand {
        case .register(let register): operands.append(Int16(assigned[register]))
        default: operands.append(Int16(TEMPER_IMMEDIATE))
        }
      }
      operands += [Int16](repeating: Int16(TEMPER_IMMEDIATE), count: 3 - operands.count)
      if let result = d.result {
        let kind = UInt8(
          registers[result].isRow
            ? TEMPER_REGISTER_ROW : carried[result] ? TEMPER_REGISTER_CARRIED : TEMPER_REGISTER_FULL)
        // A place is added where the row lies, if nothing else reads that any more.
        if d.op == TEMPER_PLACE_ADD, case .register(let row) = d.operands[0], lastUse[row] == position,
          program.registers[assigned[row]] == kind
        {
          assigned[result] = assigned[row]
          lastUse[row] = -2
          // Row registers are few and live across phases: each keeps its own.
        } else if kind != UInt8(TEMPER_REGISTER_ROW), let reused = free[kind]?.popLast() {
          assigned[result] = reused
        } else {
          assigned[result] = program.registers.count
          program.registers.append(kind)
        }
      }
      program.instructions.append(
        temper_instruction(
          op: d.op, phase: UInt16(d.phase), dst: Int16(d.result.map { assigned[$0] } ?? -1), a: operands[0],
          b: operands[1], c: operands[2], slot: Int16(d.slot), immediate: d.immediate ?? 0))
      for case .register(let register) in d.operands where lastUse[register] == position {
        lastUse[register] = -2  // freed once, also if read twice here
        free[program.registers[assigned[register]], default: []].append(assigned[register])
      }
      if let result = d.result, lastUse[result] == -1 {
        free[program.registers[assigned[result]], default: []].append(assigned[result])
      }
    }
    guard program.registers.count <= TEMPER_MAX_REGISTERS, program.slots.count <= TEMPER_MAX_SLOTS else {
      throw TemperError(
        .internalFault, "A fused step needs \(program.registers.count) registers; this should be reported.")
    }
    try collapse()
    return program
  }

  /// Merges neighbouring outer axes, and rows with columns where nothing tells them apart.
  private mutating func collapse() throws(TemperError) {
    // Every slot gets strides for all axes of the space.
    for index in program.slots.indices where !program.slots[index].isClock {
      program.slots[index].view = aligned(program.slots[index].view)
    }
    var axes = program.outer + [program.columns]
    var strides = program.slots.map { $0.isClock ? [Int](repeating: 0, count: axes.count) : $0.view.strides }
    let loadsRows = program.instructions.contains { instruction in
      guard instruction.op == TEMPER_LOAD, program.registers[Int(instruction.dst)] == TEMPER_REGISTER_ROW else {
        return false
      }
      return strides[Int(instruction.slot)].contains { $0 != 0 }
    }
    let keepsColumns =
      program.needsWholeRows || loadsRows
      || program.instructions.contains { [TEMPER_COLUMN, TEMPER_ROW, TEMPER_PLACE, TEMPER_PLACE_ADD].contains($0.op) }
    var axis = axes.count - 1
    while axis > 0 {
      let touchesColumns = axis == axes.count - 1
      let merges =
        axes[axis] == 1 || axes[axis - 1] == 1
        || strides.allSatisfy { $0[axis - 1] == $0[axis] * axes[axis] }
      if merges && !(touchesColumns && keepsColumns) {
        for index in strides.indices {
          strides[index][axis - 1] = axes[axis] == 1 ? strides[index][axis - 1] : strides[index][axis]
          strides[index].remove(at: axis)
        }
        axes[axis - 1] *= axes[axis]
        axes.remove(at: axis)
      }
      axis -= 1
    }
    program.outer = Array(axes.dropLast())
    program.columns = axes.last ?? 1
    for index in program.slots.indices where !program.slots[index].isClock {
      program.slots[index].view.sizes = axes
      program.slots[index].view.strides = strides[index]
    }
    guard program.outer.count <= Int(TEMPER_MAX_OUTER) else {
      throw TemperError(.unsupported, "Arrays of shape \(space) seen through these views have too many axes to fuse.")
    }
  }

  /// A view with exactly the axes of the space; size-1 axes do not move.
  private func aligned(_ view: View) -> View {
    let lead = space.rank - view.sizes.count
    var result = view
    result.sizes = space.sizes
    result.strides = (0..<space.rank).map { $0 < lead || view.sizes[$0 - lead] == 1 ? 0 : view.strides[$0 - lead] }
    return result
  }
}

extension Unary {
  var opcode: temper_opcode {
    switch self {
    case .negate: TEMPER_NEGATE
    case .abs: TEMPER_ABS
    case .sign: TEMPER_SIGN
    case .square: TEMPER_SQUARE
    case .sqrt: TEMPER_SQRT
    case .reciprocal: TEMPER_RECIPROCAL
    case .exp: TEMPER_EXP
    case .expm1: TEMPER_EXPM1
    case .log: TEMPER_LOG
    case .log1p: TEMPER_LOG1P
    case .tanh: TEMPER_TANH
    case .sigmoid: TEMPER_SIGMOID
    case .softplus: TEMPER_SOFTPLUS
    case .erf: TEMPER_ERF
    case .sin: TEMPER_SIN
    case .cos: TEMPER_COS
    case .floor: TEMPER_FLOOR
    case .ceil: TEMPER_CEIL
    case .round: TEMPER_ROUND
    case .not: TEMPER_NOT
    case .isFinite: TEMPER_IS_FINITE
    case .logGamma: TEMPER_LGAMMA
    case .digamma: TEMPER_DIGAMMA
    case .atan: TEMPER_ATAN
    case .inverseErf: TEMPER_ERFINV
    case .normalCDF: TEMPER_NORMAL_CDF
    }
  }
}

extension Binary {
  var opcode: temper_opcode {
    switch self {
    case .add: TEMPER_ADD
    case .subtract: TEMPER_SUBTRACT
    case .multiply: TEMPER_MULTIPLY
    case .divide: TEMPER_DIVIDE
    case .power: TEMPER_POWER
    case .maximum: TEMPER_MAXIMUM
    case .minimum: TEMPER_MINIMUM
    case .remainder: TEMPER_REMAINDER
    case .equal: TEMPER_EQUAL
    case .notEqual: TEMPER_NOT_EQUAL
    case .less: TEMPER_LESS
    case .lessEqual: TEMPER_LESS_EQUAL
    case .and: TEMPER_AND
    case .or: TEMPER_OR
    }
  }
}

extension Reduction {
  var opcode: temper_opcode {
    switch self {
    case .sum: TEMPER_ROW_SUM
    case .maximum: TEMPER_ROW_MAX
    case .minimum: TEMPER_ROW_MIN
    case .product: TEMPER_ROW_PRODUCT
    }
  }
}
