import Synchronization

/// The pieces of a job, handed out. Each worker takes those of a range of its own, in order, then what is left of the
/// others' ranges: so the same processor meets the same memory from job to job, and what lies side by side, often in one
/// line of the cache, is mostly written by one of them.
@safe final class Pieces: @unchecked Sendable {
  private let workers: Int
  private var count = 0
  /// The next piece of each range, each in a line of the cache of its own.
  private let next: UnsafeMutablePointer<Atomic<Int>>
  private static let line = 64 / MemoryLayout<Atomic<Int>>.stride

  init(workers: Int) {
    self.workers = workers
    unsafe next = .allocate(capacity: workers * Pieces.line)
    for place in 0..<workers * Pieces.line { unsafe (next + place).initialize(to: Atomic(0)) }
  }

  deinit {
    unsafe next.deinitialize(count: workers * Pieces.line)
    unsafe next.deallocate()
  }

  /// Before a job, while nobody takes any.
  func deal(_ count: Int) {
    self.count = count
    for worker in 0..<workers { unsafe next[worker * Pieces.line].store(begin(worker), ordering: .relaxed) }
  }

  /// Runs `body` with pieces until there are no more.
  func drain(as worker: Int, _ body: (Int, Int) -> Void) {
    for turn in 0..<workers {
      let owner = (worker + turn) % workers, end = begin(owner + 1)
      while true {
        let piece = unsafe next[owner * Pieces.line].add(1, ordering: .relaxed).oldValue
        if piece >= end { break }
        body(piece, worker)
      }
    }
  }

  /// Where the range of a worker begins. Of few pieces the caller, worker 0, has one.
  private func begin(_ worker: Int) -> Int { (count * worker + workers - 1) / workers }
}
