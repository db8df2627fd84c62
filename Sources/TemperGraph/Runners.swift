import TemperCore
import TemperKernels

/// Runs a fused row program in pieces.
@safe final class RowRunner: Runner {
  private let plan: RowProgram
  let isDouble: Bool
  let program: UnsafeMutablePointer<temper_row_program>
  let slots: UnsafeMutablePointer<temper_slot>
  private let instructions: UnsafeMutablePointer<temper_instruction>
  private let registers: UnsafeMutablePointer<UInt8>
  let scratchBytes: Int
  private let pieces: Int
  private let isCutByRows: Bool
  private let perPiece: Int

  /// Elements times instructions of one piece, some ten microseconds of work; and elements at least: the kernel plans a
  /// piece before it runs it, which takes longer for long programs.
  private static let pieceWork = 1 << 19, pieceElements = 1 << 16, mostPieces = 128

  init(_ plan: RowProgram, _ type: DType) {
    self.plan = plan
    isDouble = type == .float64
    unsafe instructions = .allocate(capacity: plan.instructions.count)
    unsafe instructions.initialize(from: plan.instructions, count: plan.instructions.count)
    unsafe registers = .allocate(capacity: max(plan.registers.count, 1))
    unsafe registers.initialize(from: plan.registers, count: plan.registers.count)
    unsafe slots = .allocate(capacity: max(plan.slots.count, 1))
    unsafe slots.initialize(repeating: temper_slot(), count: plan.slots.count)
    unsafe program = .allocate(capacity: 1)
    unsafe program.initialize(to: temper_row_program())
    unsafe program.pointee.rows = Int64(plan.rows)
    unsafe program.pointee.columns = Int64(plan.columns)
    unsafe program.pointee.outer_rank = Int32(plan.outer.count)
    unsafe withUnsafeMutableBytes(of: &program.pointee.outer_sizes) { bytes in
      let sizes = unsafe bytes.bindMemory(to: Int64.self)
      for (axis, size) in plan.outer.enumerated() { unsafe sizes[axis] = Int64(size) }
    }
    unsafe program.pointee.instruction_count = Int32(plan.instructions.count)
    unsafe program.pointee.register_count = Int32(plan.registers.count)
    unsafe program.pointee.slot_count = Int32(plan.slots.count)
    unsafe program.pointee.phase_count = Int32(plan.phases)
    unsafe program.pointee.instructions = UnsafePointer(instructions)
    unsafe program.pointee.registers = UnsafePointer(registers)
    scratchBytes = unsafe temper_row_program_scratch(program, type.byteCount)

    // The cut follows from the shape and the program alone.
    let work = max(
      RowRunner.pieceWork / max(plan.instructions.count, 1), RowRunner.pieceElements,
      plan.rows * plan.columns / RowRunner.mostPieces)
    isCutByRows = plan.rows > 1 || plan.needsWholeRows
    if isCutByRows {
      let rows = work / max(plan.columns, 1)
      perPiece = rows >= 64 ? rows / 64 * 64 : max(rows, 1)
      pieces = (plan.rows + perPiece - 1) / perPiece
    } else {
      // Of a long row, larger pieces: a piece's plan is then nothing beside its work.
      perPiece = (max(work, plan.columns / 64) + 1023) / 1024 * 1024
      pieces = (plan.columns + perPiece - 1) / perPiece
    }
    // Several pieces are large ones, and are run by several threads.
    if pieces == 1 {
      let bytes = unsafe temper_row_program_kept(program)
      unsafe program.pointee.kept = .allocate(byteCount: bytes, alignment: 64)
    }
  }

  deinit {
    unsafe instructions.deallocate()
    unsafe registers.deallocate()
    unsafe slots.deallocate()
    unsafe program.pointee.kept?.deallocate()
    unsafe program.deallocate()
  }

  var columns: Int { plan.columns }
  var slotCount: Int { plan.slots.count }

  /// One row, whose elements depend on nothing but those at their place, and on numbers.
  var isElementwise: Bool {
    plan.rows == 1 && plan.columns > 1 && plan.phases == 1 && !plan.needsWholeRows
      && plan.slots.allSatisfy { !$0.isClock && $0.element == .real && (0...1).contains($0.view.strides.last ?? 0) }
      && plan.instructions.allSatisfy {
        $0.op != TEMPER_COLUMN && $0.op != TEMPER_ROW
          && !(TEMPER_ROW_SUM.rawValue...TEMPER_PICK.rawValue).contains($0.op.rawValue)
      }
  }

  /// Whether it does the same, but for the number of columns.
  func isLike(_ other: RowRunner) -> Bool {
    guard isDouble == other.isDouble, plan.registers == other.plan.registers,
      plan.slots.count == other.plan.slots.count, plan.instructions.count == other.plan.instructions.count
    else { return false }
    return zip(plan.slots, other.plan.slots).allSatisfy {
      $0.view.strides.last == $1.view.strides.last && $0.element == $1.element
    }
      && zip(plan.instructions, other.plan.instructions).allSatisfy {
        $0.op == $1.op && $0.phase == $1.phase && $0.dst == $1.dst && $0.a == $1.a && $0.b == $1.b && $0.c == $1.c
          && $0.slot == $1.slot && $0.immediate.bitPattern == $1.immediate.bitPattern
      }
  }

  func resolve(_ memory: [Memory]) {
    unsafe program.pointee.kept?.storeBytes(of: 0, as: UInt8.self)
    for (index, slot) in plan.slots.enumerated() {
      let buffer = memory[slot.view.root]
      unsafe slots[index].base = buffer.pointer(slot.view.offset)
      unsafe slots[index].element =
        switch buffer.elementType {
        case .int32: TEMPER_ELEMENT_I32
        case .float64: TEMPER_ELEMENT_F64
        case .float32: TEMPER_ELEMENT_F32
        default: TEMPER_ELEMENT_U8
        }
      guard !slot.isClock else { continue }
      unsafe slots[index].column_stride = Int64(slot.view.strides.last ?? 0)
      unsafe withUnsafeMutableBytes(of: &slots[index].outer_strides) { bytes in
        let strides = unsafe bytes.bindMemory(to: Int64.self)
        for (axis, stride) in slot.view.strides.dropLast().enumerated() { unsafe strides[axis] = Int64(stride) }
      }
    }
  }

  func run(_ workers: Workers, _ scratch: Scratch) {
    workers.run(pieces) { piece, worker in
      let start = piece * perPiece
      let (row, rowEnd) = isCutByRows ? (start, min(start + perPiece, plan.rows)) : (0, plan.rows)
      let (column, columnEnd) = isCutByRows ? (0, plan.columns) : (start, min(start + perPiece, plan.columns))
      if isDouble {
        unsafe temper_row_program_run_f64(
          program, slots, Int64(row), Int64(rowEnd), Int64(column), Int64(columnEnd), scratch.pointer(of: worker))
      } else {
        unsafe temper_row_program_run_f32(
          program, slots, Int64(row), Int64(rowEnd), Int64(column), Int64(columnEnd), scratch.pointer(of: worker))
      }
    }
  }
}

/// Runs a batched matrix product in the pieces that its kernel cuts.
@safe final class MatrixProductRunner: Runner {
  private let product: MatrixProduct
  private let output: Int
  private let job: UnsafeMutablePointer<temper_matmul_job>
  private let plan: UnsafeMutablePointer<temper_matmul_plan>
  var workspaceBytes: Int { unsafe plan.pointee.workspace_bytes }
  var scratchBytes: Int { unsafe plan.pointee.scratch_bytes }
  var multiplications: Int { product.m * product.n * product.k * product.batch }

  /// Whether the product is added to what is there.
  var accumulates: Bool {
    get { unsafe job.pointee.accumulate }
    set { unsafe job.pointee.accumulate = newValue }
  }

  init(_ product: MatrixProduct, _ output: Int, _ type: DType) {
    self.product = product
    self.output = output
    unsafe job = .allocate(capacity: 1)
    unsafe plan = .allocate(capacity: 1)
    unsafe job.initialize(to: temper_matmul_job())
    unsafe job.pointee.element = type == .float64 ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32
    unsafe job.pointee.variant = TEMPER_VARIANT_BEST
    unsafe job.pointee.activation = TEMPER_ACTIVATION_NONE
    unsafe job.pointee.alpha = 1
    unsafe (job.pointee.m, job.pointee.n, job.pointee.k) = (Int64(product.m), Int64(product.n), Int64(product.k))
    unsafe job.pointee.batch = Int64(product.batch)
    unsafe job.pointee.a_row_stride = Int64(product.aStrides.row)
    unsafe job.pointee.a_column_stride = Int64(product.aStrides.column)
    unsafe job.pointee.a_batch_stride = Int64(product.aStrides.batch)
    unsafe job.pointee.b_row_stride = Int64(product.bStrides.row)
    unsafe job.pointee.b_column_stride = Int64(product.bStrides.column)
    unsafe job.pointee.b_batch_stride = Int64(product.bStrides.batch)
    unsafe job.pointee.c_row_stride = Int64(product.n)
    unsafe job.pointee.c_batch_stride = Int64(product.m * product.n)
    unsafe plan.initialize(to: temper_matmul_plan_make(job))
  }

  deinit {
    unsafe job.deallocate()
    unsafe plan.deallocate()
  }

  func resolve(_ memory: [Memory]) {
    unsafe job.pointee.a = UnsafeRawPointer(memory[product.a.root].pointer(product.a.offset))
    unsafe job.pointee.b = UnsafeRawPointer(memory[product.b.root].pointer(product.b.offset))
    unsafe job.pointee.c = memory[output].pointer()
  }

  func run(_ workers: Workers, _ scratch: Scratch) {
    for phase in 0..<(unsafe plan.pointee.phase_count) {
      let pieces = unsafe phase == 0 ? plan.pointee.piece_counts.0 : plan.pointee.piece_counts.1
      workers.run(Int(pieces)) { piece, worker in
        unsafe temper_matmul_run_piece(
          job, plan, phase, Int64(piece), scratch.shared.base, scratch.pointer(of: worker))
      }
    }
  }
}

/// Calls a foreign value-and-gradient function on the calling thread.
final class ExternalRunner: Runner {
  private let function: ExternalFunction
  private let inputs: [View], outputs: [View?]
  private var inputTensors: [Tensor] = [], outputTensors: [Tensor?] = []

  init(_ function: ExternalFunction, _ inputs: [View], _ outputs: [View?]) {
    (self.function, self.inputs, self.outputs) = (function, inputs, outputs)
  }

  func resolve(_ memory: [Memory]) throws(TemperError) {
    (inputTensors, outputTensors) = (try tensors(inputs, memory), try tensors(outputs, memory))
  }

  func run(_ workers: Workers, _ scratch: Scratch) throws(TemperError) {
    try function.evaluate(inputTensors, outputTensors)
  }
}

final class CustomRunner: Runner {
  private let body: CustomOperation.Body
  private let inputs: [View], outputs: [View?]
  private var inputTensors: [Tensor] = [], outputTensors: [Tensor?] = []

  init(_ body: @escaping CustomOperation.Body, _ inputs: [View], _ outputs: [View?]) {
    (self.body, self.inputs, self.outputs) = (body, inputs, outputs)
  }

  func resolve(_ memory: [Memory]) throws(TemperError) {
    (inputTensors, outputTensors) = (try tensors(inputs, memory), try tensors(outputs, memory))
  }

  func run(_ workers: Workers, _ scratch: Scratch) throws(TemperError) { try body(inputTensors, outputTensors) }
}

private func tensors(_ views: [View], _ memory: [Memory]) throws(TemperError) -> [Tensor] {
  var tensors: [Tensor] = []
  for view in views { tensors.append(try memory[view.root].tensor(view)) }
  return tensors
}

private func tensors(_ views: [View?], _ memory: [Memory]) throws(TemperError) -> [Tensor?] {
  var tensors: [Tensor?] = []
  for view in views { tensors.append(try view.map { view throws(TemperError) in try memory[view.root].tensor(view) }) }
  return tensors
}
