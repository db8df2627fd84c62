import Synchronization
import TemperCore
import Testing

@Suite struct WorkersTests {
  @Test(arguments: [1, 2, 4]) func everyPieceRunsOnce(threads: Int) {
    let workers = Workers(count: threads)
    let seen = Mutex([Int](repeating: 0, count: 97))
    for _ in 0..<300 {
      workers.run(97) { piece, worker in
        precondition(worker < workers.count)
        seen.withLock { $0[piece] += 1 }
      }
    }
    #expect(seen.withLock { $0 } == [Int](repeating: 300, count: 97))
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
