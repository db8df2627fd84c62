import TemperKernels

let machineVariants = [TEMPER_VARIANT_PLAIN, TEMPER_VARIANT_AVX2, TEMPER_VARIANT_AVX512]
  .filter(temper_variant_available)

extension ReferenceProgram {
  /// Runs the compiled interpreter on pieces of rows (or of columns) and puts what it stored back into `slots`.
  /// Slots named in `sharing` use the memory of another slot.
  func run(
    _ slots: inout [Slot], single: Bool, on variant: temper_variant = TEMPER_VARIANT_BEST, rowCuts: [Int] = [],
    columnCuts: [Int] = [], sharing: [Int: Int] = [:]
  ) {
    var memory: [UnsafeMutableRawPointer] = []
    var cSlots: [temper_slot] = []
    for (index, slot) in slots.enumerated() {
      let size = elementSize(slot.element)
      let block = UnsafeMutableRawPointer.allocate(byteCount: max(slot.values.count * size, 1), alignment: 64)
      memory.append(block)
      for (i, value) in slot.values.enumerated() {
        let at = block + i * size
        switch slot.element {
        case TEMPER_ELEMENT_F32: at.storeBytes(of: Float(value), as: Float.self)
        case TEMPER_ELEMENT_F64: at.storeBytes(of: value, as: Double.self)
        case TEMPER_ELEMENT_I32: at.storeBytes(of: Int32(value), as: Int32.self)
        case TEMPER_ELEMENT_I64: at.storeBytes(of: Int64(value), as: Int64.self)
        default: at.storeBytes(of: UInt8(value), as: UInt8.self)
        }
      }
      var c = temper_slot()
      c.base = sharing[index].map { memory[$0] } ?? block
      c.element = slot.element
      c.column_stride = Int64(slot.columnStride)
      withUnsafeMutableBytes(of: &c.outer_strides) {
        for (d, stride) in slot.outerStrides.enumerated() {
          $0.storeBytes(of: Int64(stride), toByteOffset: 8 * d, as: Int64.self)
        }
      }
      cSlots.append(c)
    }
    defer { for block in memory { block.deallocate() } }

    let classes = registers.map(\.rawValue)
    instructions.withUnsafeBufferPointer { code in
      classes.withUnsafeBufferPointer { classes in
        var program = temper_row_program()
        program.rows = Int64(rows)
        program.columns = Int64(columns)
        program.outer_rank = Int32(outerSizes.count)
        withUnsafeMutableBytes(of: &program.outer_sizes) {
          for (d, size) in outerSizes.enumerated() {
            $0.storeBytes(of: Int64(size), toByteOffset: 8 * d, as: Int64.self)
          }
        }
        program.instruction_count = Int32(code.count)
        program.register_count = Int32(classes.count)
        program.slot_count = Int32(cSlots.count)
        program.phase_count = Int32(code.map { $0.phase }.max() ?? 0) + 1
        program.instructions = code.baseAddress
        program.registers = classes.baseAddress
        let size = temper_row_program_scratch(&program, single ? 4 : 8)
        let scratch = UnsafeMutableRawPointer.allocate(byteCount: size + 64, alignment: 64)
        // What is not meant to be read must not matter, nor may anything beyond the end be written.
        scratch.initializeMemory(as: UInt8.self, repeating: 0xAB, count: size + 64)
        defer {
          precondition((size..<size + 64).allSatisfy { scratch.load(fromByteOffset: $0, as: UInt8.self) == 0xAB })
          scratch.deallocate()
        }
        // Pieces of rows share what the first of them decides.
        let kept = UnsafeMutableRawPointer.allocate(byteCount: temper_row_program_kept(&program), alignment: 64)
        kept.storeBytes(of: 0, as: UInt8.self)
        defer { kept.deallocate() }
        if !rowCuts.isEmpty && columnCuts.isEmpty { program.kept = kept }
        let rowEnds = rowCuts.filter { $0 < rows } + [rows]
        let columnEnds = columnCuts.filter { $0 < columns } + [columns]
        var row: Int64 = 0
        for rowEnd in rowEnds {
          var column: Int64 = 0
          for columnEnd in columnEnds {
            let run = single ? temper_row_program_run_f32_variant : temper_row_program_run_f64_variant
            run(variant, &program, cSlots, row, Int64(rowEnd), column, Int64(columnEnd), scratch)
            column = Int64(columnEnd)
          }
          row = Int64(rowEnd)
        }
      }
    }

    for index in slots.indices {
      let size = elementSize(slots[index].element)
      for i in slots[index].values.indices {
        let at = cSlots[index].base! + i * size
        switch slots[index].element {
        case TEMPER_ELEMENT_F32: slots[index].values[i] = Double(at.load(as: Float.self))
        case TEMPER_ELEMENT_F64: slots[index].values[i] = at.load(as: Double.self)
        case TEMPER_ELEMENT_I32: slots[index].values[i] = Double(at.load(as: Int32.self))
        case TEMPER_ELEMENT_I64: slots[index].values[i] = Double(at.load(as: Int64.self))
        default: slots[index].values[i] = Double(at.load(as: UInt8.self))
        }
      }
    }
  }
}

/// Numbers that look random and are the same in every run.
struct Numbers {
  var state: UInt64
  init(_ seed: Int) { state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1 }
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return ((state ^ (state >> 33)) &* 0xFF51_AFD7_ED55_8CCD) >> 11
  }
  mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }
  mutating func between(_ low: Double, _ high: Double) -> Double { low + (high - low) * Double(next()) * 0x1p-53 }
}

/// The largest difference relative to 1 + |expected|; infinite where one is NaN or infinite and the other is not.
func largestError(_ got: [Double], _ expected: [Double]) -> Double {
  precondition(got.count == expected.count)
  var worst = 0.0
  for (g, e) in zip(got, expected) where !(g == e || (g.isNaN && e.isNaN)) {
    let error = abs(g - e) / (1 + abs(e))
    worst = max(worst, error.isNaN ? .infinity : error)
  }
  return worst
}
