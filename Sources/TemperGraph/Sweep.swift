import TemperCore
import TemperKernels

/// One element-wise program over many arrays that lie apart: executions of plans that differ in length alone run as one
/// job. What a call costs beside its work is paid once instead of once for each array.
@safe package final class Sweep {
  /// Elements of an array, at most: more is work enough for a call of its own.
  package static let longest = 1 << 14

  private let executions: [Execution]
  private let workers: Workers
  private let isDouble: Bool
  private let slotCount: Int
  private let program: UnsafeMutablePointer<temper_row_program>
  /// Of each array, of each slot.
  private let bases: UnsafeMutablePointer<UnsafeMutableRawPointer?>
  private let lengths: UnsafeMutablePointer<Int64>
  /// First array of each piece, and the end.
  private let cuts: [Int]
  private let scratch: Scratch
  private var isResolved = false

  /// Columns of the program, at least: from here on a kernel decides once for all arrays.
  private static let fewestColumns = 4096
  /// Elements of a piece.
  private static let pieceElements = 1 << 15

  /// Nil unless all executions, bound to their memory, run one element-wise program, the same but for its length.
  package init?(_ executions: [Execution], workers: Workers) throws(TemperError) {
    guard let first = executions.first, let runner = first.elementwise else { return nil }
    var cuts = [0]
    var elements = 0
    for (index, execution) in executions.enumerated() {
      guard let other = execution.elementwise, other.isLike(runner), other.columns <= Sweep.longest else { return nil }
      if elements >= Sweep.pieceElements {
        cuts.append(index)
        elements = 0
      }
      elements += other.columns
    }
    (self.executions, self.workers, isDouble) = (executions, workers, runner.isDouble)
    self.cuts = cuts + [executions.count]
    slotCount = runner.slotCount
    unsafe program = .allocate(capacity: 1)
    unsafe program.initialize(to: runner.program.pointee)
    unsafe program.pointee.kept = nil
    unsafe program.pointee.columns = Int64(
      max(Sweep.fewestColumns, executions.compactMap { $0.elementwise?.columns }.max() ?? 0))
    unsafe bases = .allocate(capacity: max(executions.count * slotCount, 1))
    unsafe bases.initialize(repeating: nil, count: max(executions.count * slotCount, 1))
    unsafe lengths = .allocate(capacity: executions.count)
    for (index, execution) in executions.enumerated() {
      unsafe (lengths + index).initialize(to: Int64(execution.elementwise?.columns ?? 0))
    }
    scratch = try Scratch(
      shared: 0, each: unsafe temper_row_program_scratch(program, isDouble ? 8 : 4), workers: workers.count)
  }

  deinit {
    unsafe program.deallocate()
    unsafe bases.deallocate()
    unsafe lengths.deallocate()
  }

  /// An execution was bound to other memory.
  package func memoryChanged() { isResolved = false }

  package func run() throws(TemperError) {
    if !isResolved { try resolve() }
    guard let runner = executions[0].elementwise else { return }
    workers.run(cuts.count - 1) { piece, worker in
      let (begin, end) = (Int64(cuts[piece]), Int64(cuts[piece + 1]))
      if isDouble {
        unsafe temper_row_program_sweep_f64(
          program, runner.slots, bases, lengths, begin, end, scratch.pointer(of: worker))
      } else {
        unsafe temper_row_program_sweep_f32(
          program, runner.slots, bases, lengths, begin, end, scratch.pointer(of: worker))
      }
    }
  }

  private func resolve() throws(TemperError) {
    for (index, execution) in executions.enumerated() {
      try execution.prepare()
      guard let runner = execution.elementwise else { continue }
      for slot in 0..<slotCount { unsafe bases[index * slotCount + slot] = unsafe runner.slots[slot].base }
    }
    isResolved = true
  }
}

extension Execution {
  /// The runner of a plan that is one element-wise program and nothing else.
  fileprivate var elementwise: RowRunner? {
    guard let runner = onlyRunner as? RowRunner, runner.isElementwise else { return nil }
    return runner
  }
}
