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
}
