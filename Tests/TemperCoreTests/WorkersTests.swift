import Glibc
import Synchronization
import TemperCore
import Testing

@Suite struct WorkersTests {
  @Test(arguments: [0, 1, 2, 4]) func everyPieceRunsOnce(threads: Int) {
    let workers = Workers(count: threads)
    for count in [1, 2, 3, 5, 97] {
      let seen = Mutex([Int](repeating: 0, count: count))
      for _ in 0..<300 {
        workers.run(count) { piece, worker in
          precondition(worker < workers.count)
          seen.withLock { $0[piece] += 1 }
        }
      }
      #expect(seen.withLock { $0 } == [Int](repeating: 300, count: count))
    }
  }

  /// For some seconds at most: a test that fails ends.
  private func wait(until isTrue: () -> Bool) {
    var left = 10_000_000
    while left > 0, !isTrue() {
      left -= 1
      sched_yield()
    }
  }

  /// The first piece ends after all others, those of its own worker too: the other one takes what is left.
  @Test func whatAWorkerDoesNotComeToOthersDo() {
    let workers = Workers(count: 2)
    guard workers.count == 2 else { return }
    let done = Atomic<Int>(0)
    let before = Atomic<Int>(0)
    workers.run(12) { piece, _ in
      if piece == 0 {
        wait { done.load(ordering: .acquiring) == 11 }
        before.store(done.load(ordering: .acquiring), ordering: .releasing)
      }
      done.add(1, ordering: .acquiringAndReleasing)
    }
    #expect(before.load(ordering: .acquiring) == 11)
  }

  /// A worker begins with a range of its own: neighbouring pieces stay together.
  @Test func eachWorkerBeginsWithPiecesOfItsOwn() {
    let workers = Workers(count: 2)
    guard workers.count == 2 else { return }
    let firsts = Mutex([Int](repeating: -1, count: 2))
    let begun = Atomic<Int>(0)
    workers.run(8) { piece, worker in
      let isFirst = firsts.withLock { firsts in
        defer { if firsts[worker] < 0 { firsts[worker] = piece } }
        return firsts[worker] < 0
      }
      guard isFirst else { return }
      begun.add(1, ordering: .acquiringAndReleasing)
      wait { begun.load(ordering: .acquiring) == 2 }
    }
    #expect(firsts.withLock { $0 } == [0, 4])
  }

  /// How many of the next jobs the caller does alone.
  private func alone(_ patience: inout Patience) -> Int {
    var count = 0
    while patience.takesJobAlone() { count += 1 }
    return count
  }

  /// A helper put aside inside a piece: jobs alone, twice as many each time, less again after jobs that went well.
  @Test func aHelperThatDoesNotRunIsNotWaitedForAgain() {
    var patience = Patience()
    #expect(alone(&patience) == 0)
    for expected in [16, 32, 64] {
      patience.note(worked: 1e-4, waited: 5e-3, computed: 1e-3)
      #expect(alone(&patience) == expected)
    }
    for _ in 0..<20 { patience.note(worked: 1e-4, waited: 0, computed: 0) }
    patience.note(worked: 1e-4, waited: 5e-3, computed: 0)
    #expect(alone(&patience) == 16)
    for _ in 0..<20 {
      patience.note(worked: 1e-4, waited: 5e-3, computed: 0)
      #expect(alone(&patience) <= 4096)
    }
  }

  /// A wait for a helper's own work, a short one, or one beside as long a work of the caller, is no reason.
  @Test func aHelperThatComputesIsWaitedFor() {
    var patience = Patience()
    patience.note(worked: 1e-4, waited: 5e-3, computed: 4e-3)
    patience.note(worked: 1e-6, waited: 0.9 * Patience.shortest, computed: 0)
    patience.note(worked: 3e-3, waited: 5e-3, computed: 0)
    #expect(alone(&patience) == 0)
  }
}
