import TemperKernels
import Testing

private let columnCounts = [1, 2, 3, 10, 16, 31, 32, 33, 64, 100, 1000, 1024, 1025, 5000]

/// Row counts on both sides of the edges of a block.
private func rowCounts(_ columns: Int) -> [Int] {
  columns <= 32 ? [1, 17, 2048 / columns + 5] : columns <= 2048 ? [1, 2 * (2048 / columns) + 1] : [2]
}

private let unary: [temper_opcode] = [
  TEMPER_COPY, TEMPER_NEGATE, TEMPER_ABS, TEMPER_SIGN, TEMPER_SQUARE, TEMPER_SQRT, TEMPER_RECIPROCAL, TEMPER_EXP,
  TEMPER_EXPM1, TEMPER_LOG, TEMPER_LOG1P, TEMPER_TANH, TEMPER_SIGMOID, TEMPER_SOFTPLUS, TEMPER_ERF, TEMPER_SIN,
  TEMPER_COS, TEMPER_FLOOR, TEMPER_CEIL, TEMPER_ROUND, TEMPER_NOT, TEMPER_IS_FINITE, TEMPER_LGAMMA, TEMPER_DIGAMMA,
  TEMPER_ATAN, TEMPER_ERFINV, TEMPER_NORMAL_CDF,
]
private let binary: [temper_opcode] = [
  TEMPER_ADD, TEMPER_SUBTRACT, TEMPER_MULTIPLY, TEMPER_DIVIDE, TEMPER_POWER, TEMPER_MAXIMUM, TEMPER_MINIMUM,
  TEMPER_REMAINDER, TEMPER_EQUAL, TEMPER_NOT_EQUAL, TEMPER_LESS, TEMPER_LESS_EQUAL, TEMPER_AND, TEMPER_OR,
]
private let ternary: [temper_opcode] = [TEMPER_SELECT, TEMPER_MULTIPLY_ADD]
private let reductions: [temper_opcode] = [
  TEMPER_ROW_SUM, TEMPER_ROW_MAX, TEMPER_ROW_MIN, TEMPER_ROW_PRODUCT, TEMPER_ROW_ARGMAX, TEMPER_ROW_ARGMIN,
]

/// What chains are made of.
private let chained = [
  TEMPER_COPY, TEMPER_NEGATE, TEMPER_ABS, TEMPER_SIGN, TEMPER_SQUARE, TEMPER_SQRT, TEMPER_RECIPROCAL, TEMPER_NOT,
  TEMPER_ADD, TEMPER_SUBTRACT, TEMPER_MULTIPLY, TEMPER_DIVIDE, TEMPER_MAXIMUM, TEMPER_MINIMUM, TEMPER_EQUAL,
  TEMPER_NOT_EQUAL, TEMPER_LESS, TEMPER_LESS_EQUAL, TEMPER_AND, TEMPER_OR, TEMPER_SELECT, TEMPER_MULTIPLY_ADD,
  TEMPER_ADD, TEMPER_MULTIPLY, TEMPER_MULTIPLY_ADD, TEMPER_FLOOR,
]

/// Values with halves, zeros of both signs and, rarely, infinities and NaN.
private func value(_ numbers: inout Numbers) -> Double {
  switch numbers.below(64) {
  case 0: .infinity
  case 1: -.infinity
  case 2: .nan
  case 3: -0.0
  case 4...11: Double(numbers.below(7)) / 2 - 1.5
  case 12...23: Double(Float(numbers.between(-0.99, 0.99)))
  default: Double(Float(numbers.between(-3, 3)))
  }
}

/// Runs on every variant and compares all slots with the reference.
private func check(
  _ program: ReferenceProgram, _ slots: [Slot], single: Bool, tolerance: Double, _ label: String, rowCuts: [Int] = [],
  columnCuts: [Int] = [], sharing: [Int: Int] = [:]
) {
  var expected = slots
  program.runReference(&expected, single: single)
  for variant in machineVariants {
    var got = slots
    program.run(&got, single: single, on: variant, rowCuts: rowCuts, columnCuts: columnCuts, sharing: sharing)
    for s in slots.indices where sharing[s] == nil {
      let error = largestError(got[s].values, expected[sharing.first { $0.value == s }?.key ?? s].values)
      #expect(
        error <= tolerance, "\(label): slot \(s), \(program.rows) x \(program.columns), variant \(variant.rawValue)")
    }
  }
}

@Suite struct RowProgramTests {
  /// Every element-wise instruction with every combination of FULL, ROW and immediate operands.
  @Test(arguments: unary + binary + ternary, [true, false])
  func elementwise(op: temper_opcode, single: Bool) {
    let arity = unary.contains(op) ? 1 : binary.contains(op) ? 2 : 3
    let element = single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64
    for columns in columnCounts {
      let rows = rowCounts(columns).last!
      var numbers = Numbers(columns)
      var program = ReferenceProgram(rows: rows, columns: columns)
      var slots: [Slot] = []
      var full: [Int16] = []
      var row: [Int16] = []
      for _ in 0..<arity {
        full.append(program.register(.full))
        program.emit(TEMPER_LOAD, full.last!, slot: slots.count)
        slots.append(.dense(program, element: element) { _, _ in value(&numbers) })
        row.append(program.register(.row))
        program.emit(TEMPER_LOAD, row.last!, slot: slots.count)
        slots.append(.perRow(program, element: element) { _ in value(&numbers) })
      }
      var combinations: [[Int16]] = [[]]
      for operand in 0..<arity {
        combinations = combinations.flatMap { head in
          [full[operand], row[operand], Int16(TEMPER_IMMEDIATE)].map { head + [$0] }
        }
      }
      for (index, operands) in combinations.enumerated() {
        let padded = operands + [0, 0]  // unused operands may hold anything
        let kinds: [ReferenceProgram.Register] = operands.contains { full.contains($0) } ? [.full] : [.full, .row]
        for kind in kinds {
          let dst = program.register(kind)
          program.emit(op, dst, padded[0], padded[1], padded[2], immediate: [0.75, -1.5, 2][index % 3])
          program.emit(TEMPER_STORE, -1, dst, slot: slots.count)
          slots.append(
            kind == .full
              ? .dense(program, element: element) { _, _ in 7 } : .perRow(program, element: element) { _ in 7 })
        }
      }
      let rare = [TEMPER_DIGAMMA, TEMPER_LGAMMA, TEMPER_ERFINV].contains(op)
      check(program, slots, single: single, tolerance: single ? 1e-6 : rare ? 1e-7 : 4e-15, "opcode \(op.rawValue)")
    }
  }

  @Test(arguments: columnCounts, [true, false])
  func rowInstructions(columns: Int, single: Bool) {
    let element = single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64
    for rows in rowCounts(columns) {
      for special in [false, true] {
        var numbers = Numbers(columns + rows)
        var program = ReferenceProgram(rows: rows, columns: columns)
        let x = program.register(.full)
        let index = program.register(.row)
        let amount = program.register(.row)
        program.emit(TEMPER_LOAD, x, slot: 0)
        program.emit(TEMPER_LOAD, index, slot: 1)
        program.emit(TEMPER_LOAD, amount, slot: 2)
        var slots: [Slot] = [
          .dense(program, element: element) { _, _ in
            // Ties for the arguments; products stay in range; NaN in one row of three.
            special && numbers.below(3 * columns) == 0 ? .nan : Double(numbers.below(9) - 4) / 4 + (special ? 0 : 1.5)
          },
          .perRow(program, element: TEMPER_ELEMENT_I32) { _ in Double(numbers.below(columns + 2) - 1) },
          .perRow(program, element: element) { _ in Double(numbers.below(100)) },
        ]
        func output(_ kind: ReferenceProgram.Register, _ emit: (inout ReferenceProgram, Int16) -> Void) {
          let dst = program.register(kind)
          emit(&program, dst)
          program.emit(TEMPER_STORE, -1, dst, slot: slots.count, phase: 1)
          slots.append(
            kind == .row
              ? .perRow(program, element: element) { _ in 7 } : .dense(program, element: element) { _, _ in 7 })
        }
        for op in reductions { output(.row) { $0.emit(op, $1, x) } }
        output(.row) { $0.emit(TEMPER_PICK, $1, x, index) }
        output(.row) { $0.emit(TEMPER_PICK, $1, x, -1, immediate: Double(columns - 1)) }
        output(.full) { $0.emit(TEMPER_PLACE, $1, index, amount) }
        output(.full) { $0.emit(TEMPER_PLACE, $1, index, -1, immediate: 3) }
        output(.full) { $0.emit(TEMPER_PLACE_ADD, $1, x, index, amount) }
        output(.full) { $0.emit(TEMPER_COLUMN, $1) }
        output(.row) { $0.emit(TEMPER_ROW, $1) }
        output(.full) { $0.emit(TEMPER_FILL, $1, immediate: 2.5) }
        // Stores belong to phase 1, the rest to phase 0.
        program.instructions.sort { $0.phase < $1.phase }
        for (reg, kind) in program.registers.enumerated() where kind == .full {
          program.registers[reg] = .carried
        }
        check(program, slots, single: single, tolerance: single ? 2e-6 : 1e-12, "row instructions")
      }
    }
  }

  /// Softmax: three phases with carried registers.
  @Test(arguments: columnCounts, [true, false])
  func phases(columns: Int, single: Bool) {
    let element = single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64
    for rows in rowCounts(columns) {
      var numbers = Numbers(rows)
      var program = ReferenceProgram(rows: rows, columns: columns)
      let x = program.register(.carried)
      let e = program.register(.carried)
      let largest = program.register(.row)
      let sum = program.register(.row)
      let y = program.register(.full)
      program.emit(TEMPER_LOAD, x, slot: 0)
      program.emit(TEMPER_ROW_MAX, largest, x)
      program.emit(TEMPER_SUBTRACT, e, x, largest, phase: 1)
      program.emit(TEMPER_EXP, e, e, phase: 1)
      program.emit(TEMPER_ROW_SUM, sum, e, phase: 1)
      program.emit(TEMPER_DIVIDE, y, e, sum, phase: 2)
      program.emit(TEMPER_STORE, -1, y, slot: 1, phase: 2)
      let slots: [Slot] = [
        .dense(program, element: element) { _, _ in numbers.between(-8, 8) },
        .dense(program, element: element) { _, _ in 7 },
      ]
      check(program, slots, single: single, tolerance: single ? 4e-7 : 4e-15, "softmax")
      check(program, slots, single: single, tolerance: single ? 4e-7 : 4e-15, "softmax in place", sharing: [1: 0])
    }
  }

  /// What the interpreter joins to one loop, and what it must not: other readers of the parts, a sum in another phase.
  @Test(arguments: columnCounts, [true, false])
  func exponentialsWithNeighbours(columns: Int, single: Bool) {
    let element = single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64
    let rows = rowCounts(columns).last!
    for form in 0..<16 {
      let (subtracts, differenceRead, sums, later) = (form & 1 != 0, form & 2 != 0, form & 4 != 0, form & 8 != 0)
      var numbers = Numbers(rows)
      var program = ReferenceProgram(rows: rows, columns: columns)
      var slots: [Slot] = []
      func load(_ kind: ReferenceProgram.Register) -> Int16 {
        let dst = program.register(kind)
        program.emit(TEMPER_LOAD, dst, slot: slots.count)
        slots.append(
          kind == .row
            ? .perRow(program, element: element) { _ in numbers.between(-2, 2) }
            : .dense(program, element: element) { _, _ in numbers.between(-4, 4) })
        return dst
      }
      func store(_ reg: Int16, _ kind: ReferenceProgram.Register) {
        program.emit(TEMPER_STORE, -1, reg, slot: slots.count, phase: 2)
        slots.append(
          kind == .row ? .perRow(program, element: element) { _ in 7 } : .dense(program, element: element) { _, _ in 7 }
        )
      }
      let x = load(.carried)
      let shift = load(.row)
      let difference = program.register(.carried)
      let e = program.register(.carried)
      let sum = program.register(.row)
      if subtracts { program.emit(TEMPER_SUBTRACT, difference, x, shift) }
      program.emit(TEMPER_EXP, e, subtracts ? difference : x)
      if sums { program.emit(TEMPER_ROW_SUM, sum, e, phase: later ? 1 : 0) }
      if subtracts && differenceRead { store(difference, .full) }
      if sums { store(sum, .row) }
      store(e, .full)
      check(program, slots, single: single, tolerance: single ? 2e-6 : 1e-14, "exponential \(form)")
    }
  }

  @Test(arguments: [1, 3, 32, 33, 100, 2048, 2049])
  func conversions(columns: Int) {
    let elements = [
      TEMPER_ELEMENT_F32, TEMPER_ELEMENT_F64, TEMPER_ELEMENT_I32, TEMPER_ELEMENT_I64, TEMPER_ELEMENT_U8,
    ]
    for single in [true, false] {
      for from in elements {
        for to in elements {
          let rows = rowCounts(columns).last!
          var numbers = Numbers(columns)
          var program = ReferenceProgram(rows: rows, columns: columns)
          let x = program.register(.full)
          let r = program.register(.row)
          program.emit(TEMPER_LOAD, x, slot: 0)
          program.emit(TEMPER_LOAD, r, slot: 1)
          program.emit(TEMPER_STORE, -1, x, slot: 2)
          program.emit(TEMPER_STORE, -1, r, slot: 3)
          program.emit(TEMPER_STORE, -1, r, slot: 4)  // repeated along columns
          program.emit(TEMPER_STORE, -1, -1, slot: 5, immediate: 9.75)
          let real = from == TEMPER_ELEMENT_F32 || from == TEMPER_ELEMENT_F64
          func input(_ numbers: inout Numbers) -> Double {
            switch (real, numbers.below(20)) {
            case (true, 0): .nan
            case (true, 1): 0x1p42
            case (true, 2): -0x1p42
            case (true, _): Double(Float(numbers.between(-300, 300)))
            default: Double(numbers.below(256))
            }
          }
          let slots: [Slot] = [
            .dense(program, element: from) { _, _ in input(&numbers) },
            .perRow(program, element: from) { _ in input(&numbers) },
            .dense(program, element: to) { _, _ in 7 },
            .perRow(program, element: to) { _ in 7 },
            .dense(program, element: to) { _, _ in 7 },
            .dense(program, element: to) { _, _ in 7 },
          ]
          check(program, slots, single: single, tolerance: 0, "element \(from.rawValue) to \(to.rawValue)")
        }
      }
    }
  }

  /// Broadcast and permuted inputs and outputs over several outer dimensions.
  @Test(arguments: [1, 5, 32, 33, 300, 3000], [true, false])
  func strides(columns: Int, single: Bool) {
    let element = single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64
    let outer = columns > 2048 ? [2, 1, 2] : [5, 4, 7]
    let rows = outer.reduce(1, *)
    var numbers = Numbers(columns)
    var program = ReferenceProgram(rows: rows, columns: columns, outerSizes: outer)
    let values = (0..<rows * columns).map { _ in numbers.between(-1, 1) }
    var slots = [
      [columns, 1, 0, 0], [0, 1, columns * outer[0], columns], [0, 1, columns, 0], [0, 0, 0, 0],
      [1, rows, outer[1] * outer[2], outer[2]],
    ].map { s in
      Slot(element: element, columnStride: s[1], outerStrides: [s[0], s[2], s[3]], values: values)
    }
    slots[4].outerStrides = [outer[1] * outer[2], outer[2], 1]
    var sum = program.register(.full)
    program.emit(TEMPER_FILL, sum)
    for s in slots.indices {
      for kind in [ReferenceProgram.Register.full, .row] {
        let x = program.register(kind)
        let next = program.register(.full)
        program.emit(TEMPER_LOAD, x, slot: s)
        program.emit(TEMPER_ADD, next, sum, x)
        sum = next
      }
    }
    program.emit(TEMPER_STORE, -1, sum, slot: slots.count)
    program.emit(TEMPER_STORE, -1, sum, slot: slots.count + 1)
    // The first output is column-major, the second has its outer dimensions permuted and gaps between the rows.
    slots.append(
      Slot(
        element: element, columnStride: rows, outerStrides: [outer[1] * outer[2], outer[2], 1],
        values: values.map { _ in 7 }))
    slots.append(
      Slot(
        element: element, columnStride: 1,
        outerStrides: [columns + 3, (columns + 3) * outer[0] * outer[2], (columns + 3) * outer[0]],
        values: [Double](repeating: 7, count: rows * (columns + 3))))
    check(program, slots, single: single, tolerance: single ? 4e-6 : 1e-14, "strides")
    check(program, slots, single: single, tolerance: single ? 4e-6 : 1e-14, "strides, cut", rowCuts: [1, 9, 10, 100])
    check(
      program, slots, single: single, tolerance: single ? 4e-6 : 1e-14, "strides, columns cut",
      columnCuts: [1, 17, 2100])
  }

  /// Random programs over small integers, where every order of operations gives the same bits: phases, carried
  /// registers, registers used again, outputs in the memory of inputs.
  @Test(arguments: 0..<120)
  func randomPrograms(seed: Int) {
    var numbers = Numbers(seed)
    let columns = [1, 2, 7, 10, 32, 33, 40, 257, 1024, 2048, 2049, 4100][seed % 12]
    let rows = columns > 1000 ? 3 : 1 + numbers.below(6000 / columns)
    let single = seed % 2 == 0
    let element = single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64
    var program = ReferenceProgram(rows: rows, columns: columns)
    var slots: [Slot] = []
    var sharing: [Int: Int] = [:]
    let phases = 4
    // Registers by the phase they were last written in; FULL values are used within their phase, or carried.
    var full: [Int16] = []
    var carried: [Int16] = []
    var row: [Int16] = []
    var loaded: [Int] = []
    for phase in 0..<phases {
      full = []
      var reduced: [Int16] = []
      for _ in 0..<(3 + numbers.below(8)) {
        func any(_ numbers: inout Numbers) -> Int16 {
          let all = full + carried + row
          return all.isEmpty || numbers.below(8) == 0 ? -1 : all[numbers.below(all.count)]
        }
        // The destination: new, or a register of this kind used again.
        func destination(_ numbers: inout Numbers) -> Int16 {
          if let old = (full + carried).randomElement(&numbers), numbers.below(4) == 0 { return old }
          let carry = numbers.below(2) == 0
          let reg = program.register(carry ? .carried : .full)
          if carry { carried.append(reg) } else { full.append(reg) }
          return reg
        }
        switch numbers.below(10) {
        case 0, 1:
          let dst = destination(&numbers)
          if let again = loaded.randomElement(&numbers), numbers.below(3) == 0 {
            program.emit(TEMPER_LOAD, dst, slot: again, phase: phase)
          } else {
            program.emit(TEMPER_LOAD, dst, slot: slots.count, phase: phase)
            loaded.append(slots.count)
            slots.append(.dense(program, element: element) { _, _ in Double(numbers.below(17) - 8) })
          }
        case 2:
          row.append(program.register(.row))
          program.emit(TEMPER_LOAD, row.last!, slot: slots.count, phase: phase)
          slots.append(.perRow(program, element: element) { _ in Double(numbers.below(columns + 1)) })
        case 3, 4:
          guard let x = (full + carried).randomElement(&numbers) else { continue }
          reduced.append(program.register(.row))
          let op = (reductions.filter { $0 != TEMPER_ROW_PRODUCT } + [TEMPER_PICK]).randomElement(&numbers)!
          let index = row.randomElement(&numbers) ?? -1
          program.emit(op, reduced.last!, x, index, phase: phase)
        case 5:
          guard let x = (full + carried).randomElement(&numbers) else { continue }
          if let target = loaded.randomElement(&numbers), numbers.below(2) == 0 {
            // Into the memory of an input; `slots.count` is another name for it.
            program.emit(TEMPER_STORE, -1, x, slot: target, phase: phase)
          } else {
            program.emit(TEMPER_STORE, -1, x, slot: slots.count, phase: phase)
            slots.append(.dense(program, element: element) { _, _ in 7 })
          }
        case 6:
          guard let r = row.randomElement(&numbers) else { continue }
          let x = (full + carried).randomElement(&numbers)
          let dst = numbers.below(2) == 0 ? x ?? destination(&numbers) : destination(&numbers)
          if let x {
            program.emit(TEMPER_PLACE_ADD, dst, x, r, -1, immediate: 2, phase: phase)
          } else {
            program.emit(TEMPER_PLACE, dst, r, -1, immediate: 2, phase: phase)
          }
        default:
          let op = [
            TEMPER_ADD, TEMPER_SUBTRACT, TEMPER_MULTIPLY, TEMPER_MAXIMUM, TEMPER_MINIMUM, TEMPER_LESS, TEMPER_EQUAL,
            TEMPER_SELECT,
          ].randomElement(&numbers)!
          let (a, b, c) = (any(&numbers), any(&numbers), any(&numbers))
          let dst = destination(&numbers)
          program.emit(op, dst, a, b, c, immediate: Double(numbers.below(5)), phase: phase)
          program.emit(TEMPER_REMAINDER, dst, dst, -1, immediate: 17, phase: phase)
        }
      }
      // What was reduced can be read from the next phase on.
      for reg in reduced {
        let small = program.register(.row)
        program.emit(TEMPER_REMAINDER, small, reg, -1, immediate: 13, phase: phase + 1)
        row.append(small)
      }
    }
    for reg in full + carried + row {
      program.emit(TEMPER_STORE, -1, reg, slot: slots.count, phase: phases)
      slots.append(.dense(program, element: element) { _, _ in 7 })
      if full.contains(reg) { program.registers[Int(reg)] = .carried }
    }
    sharing = [:]
    check(program, slots, single: single, tolerance: 0, "random program \(seed)", sharing: sharing)
    check(program, slots, single: single, tolerance: 0, "random program \(seed), cut", rowCuts: [1, 18, 100, 2000])
  }

  /// Element-wise programs run as chains of tiles; cut into pieces of fewer columns than a tile has they run as loops.
  /// Both give the same bits, with values read again, registers used again and outputs in the memory of inputs.
  @Test(arguments: 0..<60)
  func chainsAreLoops(seed: Int) {
    var numbers = Numbers(seed)
    let single = seed % 2 == 0
    let element = single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64
    let columns = [2049, 4100, 9000][seed % 3]
    var program = ReferenceProgram(rows: 1, columns: columns)
    var slots: [Slot] = []
    var (full, row): ([Int16], [Int16]) = ([], [])
    for _ in 0..<3 {
      full.append(program.register(.full))
      program.emit(TEMPER_LOAD, full.last!, slot: slots.count)
      slots.append(.dense(program, element: element) { _, _ in numbers.between(-2, 2) })
    }
    let inputs = slots.count
    for _ in 0..<(4 + numbers.below(30)) {
      if numbers.below(8) == 0 {
        row.append(program.register(.row))
        program.emit(TEMPER_LOAD, row.last!, slot: slots.count)
        slots.append(.perRow(program, element: element) { _ in numbers.between(-2, 2) })
        continue
      }
      // Mostly what was just made, so that chains form; sometimes two or three times.
      func operand() -> Int16 {
        switch numbers.below(6) {
        case 0, 1, 2: full.last!
        case 3: row.randomElement(&numbers) ?? -1
        case 4: -1
        default: full.randomElement(&numbers)!
        }
      }
      let op = chained.randomElement(&numbers)!
      var operands = [operand(), operand()]
      operands.insert(full.randomElement(&numbers)!, at: numbers.below(3))
      let again = numbers.below(4) == 0 ? full.randomElement(&numbers)! : program.register(.full)
      program.emit(op, again, operands[0], operands[1], operands[2], immediate: numbers.between(-2, 2))
      full.removeAll { $0 == again }
      full.append(again)
      if numbers.below(4) == 0 {
        program.emit(TEMPER_STORE, -1, again, slot: numbers.below(2) == 0 ? numbers.below(inputs) : slots.count)
        if Int(program.instructions.last!.slot) == slots.count {
          slots.append(.dense(program, element: element) { _, _ in 7 })
        }
      }
    }
    program.emit(TEMPER_STORE, -1, full.last!, slot: slots.count)
    slots.append(.dense(program, element: element) { _, _ in 7 })
    for variant in machineVariants {
      var (whole, cut) = (slots, slots)
      program.run(&whole, single: single, on: variant)
      program.run(&cut, single: single, on: variant, columnCuts: Array(stride(from: 15, to: columns, by: 15)))
      for (index, slot) in whole.enumerated() {
        #expect(
          zip(slot.values, cut[index].values).allSatisfy { $0 == $1 || $0.isNaN && $1.isNaN },
          "program \(seed), slot \(index), variant \(variant.rawValue)")
      }
    }
  }

  /// The same bits however rows are cut.
  @Test(arguments: [1, 3, 10, 32, 33, 100, 1000, 5000], [true, false])
  func rowCutsKeepBits(columns: Int, single: Bool) {
    let element = single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64
    let rows = columns > 2048 ? 5 : 4500 / columns
    var numbers = Numbers(columns)
    var program = ReferenceProgram(rows: rows, columns: columns)
    let x = program.register(.carried)
    let sum = program.register(.row)
    let y = program.register(.carried)
    let norm = program.register(.row)
    let u = program.register(.full)
    program.emit(TEMPER_LOAD, x, slot: 0)
    program.emit(TEMPER_ROW_SUM, sum, x)
    program.emit(TEMPER_MULTIPLY_ADD, y, x, sum, x, phase: 1)
    program.emit(TEMPER_TANH, y, y, phase: 1)
    program.emit(TEMPER_SIN, u, x, phase: 1)
    program.emit(TEMPER_MULTIPLY, y, y, u, phase: 1)
    program.emit(TEMPER_ROW_SUM, norm, y, phase: 1)
    program.emit(TEMPER_DIVIDE, y, y, norm, phase: 2)
    program.emit(TEMPER_UNIFORM, u, slot: 2, immediate: 5, phase: 2)
    program.emit(TEMPER_ADD, y, y, u, phase: 2)
    program.emit(TEMPER_STORE, -1, y, slot: 1, phase: 2)
    let slots: [Slot] = [
      // Some sines take the way of large arguments; they must not change their neighbours.
      .dense(program, element: element) { _, _ in numbers.between(-1, 1) * (numbers.below(500) == 0 ? 1e7 : 1) },
      .dense(program, element: element) { _, _ in 7 },
      Slot(element: TEMPER_ELEMENT_I64, columnStride: 0, outerStrides: [0], values: [12345, 678]),
    ]
    for variant in machineVariants {
      var whole = slots
      program.run(&whole, single: single, on: variant)
      for cuts in [[1, 2, 3], Array(1..<rows), [rows / 2], [15, 16, 17, 18, 33]] {
        var cut = slots
        program.run(&cut, single: single, on: variant, rowCuts: cuts.sorted())
        #expect(
          cut[1].values == whole[1].values, "\(columns) columns, cuts \(cuts.prefix(5)), variant \(variant.rawValue)")
      }
    }
  }
}

extension Array {
  fileprivate func randomElement(_ numbers: inout Numbers) -> Element? {
    isEmpty ? nil : self[numbers.below(count)]
  }
}
