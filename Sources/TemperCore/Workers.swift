import Glibc
import Synchronization
import TemperKernels

/// A small pool of threads that runs the pieces of one job at a time.
///
/// Work is cut into pieces by shape, never by the number of threads, so results do not depend on that number. Workers
/// spin for some microseconds before they sleep: the steps of a training run follow each other closely. Where other
/// programs hold the processors, the caller works alone for a while: a thread put aside inside a piece keeps it waiting
/// for the scheduler's next turn, a thousand times the piece. In the child of a fork the caller works alone: threads do
/// not come along.
@safe public final class Workers: @unchecked Sendable {
  public let count: Int
  private let shared: Shared
  private var threads: [pthread_t] = []
  /// One job at a time; a second caller waits its turn.
  private let turn = Mutex<Void>(())
  private let birth = Forks.passed

  /// `count` 0 takes one thread per processor.
  public init(count: Int = 0) {
    let wanted = count > 0 ? Swift.min(count, 256) : Swift.max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    shared = Shared()
    for index in 1..<Swift.max(wanted, 1) {
      var thread = pthread_t()
      let entry = unsafe Unmanaged.passRetained(Entry(shared: shared, index: index))
      let status = unsafe pthread_create(&thread, nil, workerMain, entry.toOpaque())
      guard status == 0 else {
        unsafe entry.release()
        break
      }
      threads.append(thread)
    }
    self.count = threads.count + 1
    shared.helpers = threads
    shared.pieces = Pieces(workers: self.count)
  }

  deinit {
    guard Forks.passed == birth else { return }
    shared.stop()
    for thread in threads { _ = pthread_join(thread, nil) }
  }

  /// Runs `body(piece, worker)` for every piece in 0..<pieces and returns when all are done; `worker` is in 0..<count.
  public func run(_ pieces: Int, _ body: (_ piece: Int, _ worker: Int) -> Void) {
    if pieces <= 1 || threads.isEmpty || Forks.passed != birth {
      for piece in 0..<Swift.max(pieces, 0) { body(piece, 0) }
      return
    }
    turn.withLock { _ in
      withoutActuallyEscaping(body) { body in shared.run(pieces, body) }
    }
  }
}

/// How many forks lie between the program's first process and this one.
private enum Forks {
  private static let count = Atomic<Int>(0)
  private static let isCounting = pthread_atfork(nil, nil, { count.add(1, ordering: .relaxed) }) == 0

  static var passed: Int { isCounting ? count.load(ordering: .relaxed) : 0 }
}

private final class Entry: Sendable {
  let shared: Shared
  let index: Int
  init(shared: Shared, index: Int) { (self.shared, self.index) = (shared, index) }
}

private func workerMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  let entry = unsafe Unmanaged<Entry>.fromOpaque(argument!).takeRetainedValue()
  entry.shared.work(as: entry.index)
  return nil
}

/// What the caller and the helpers share: the job, its pieces, and who is still busy.
@safe private final class Shared: @unchecked Sendable {
  private let generation = Atomic<Int>(0)
  /// Helpers that may be inside a job; the caller leaves only when it is 0 after `isOpen` was taken back.
  private let active = Atomic<Int>(0)
  private let isOpen = Atomic<Bool>(false)
  private let stopped = Atomic<Bool>(false)
  private let sleepers = Atomic<Int>(0)
  /// Where the caller of the present job runs.
  private let caller = Atomic<Int>(-1)
  /// Both set before the first job.
  var helpers: [pthread_t] = []
  var pieces = Pieces(workers: 1)
  private var body: ((Int, Int) -> Void)?
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let wake: UnsafeMutablePointer<pthread_cond_t>
  private static let spins = 4000
  private var patience = Patience()

  init() {
    unsafe mutex = .allocate(capacity: 1)
    unsafe wake = .allocate(capacity: 1)
    unsafe pthread_mutex_init(mutex, nil)
    unsafe pthread_cond_init(wake, nil)
  }

  deinit {
    unsafe pthread_cond_destroy(wake)
    unsafe pthread_mutex_destroy(mutex)
    unsafe wake.deallocate()
    unsafe mutex.deallocate()
  }

  func run(_ pieces: Int, _ body: @escaping (Int, Int) -> Void) {
    if patience.takesJobAlone() {
      for piece in 0..<pieces { body(piece, 0) }
      return
    }
    let begun = monotonicSeconds()
    self.pieces.deal(pieces)
    self.body = body
    caller.store(Int(temper_processor()), ordering: .relaxed)
    isOpen.store(true, ordering: .sequentiallyConsistent)
    announce()
    self.pieces.drain(as: 0, body)
    isOpen.store(false, ordering: .sequentiallyConsistent)
    awaitHelpers(since: begun)
    self.body = nil
  }

  /// Waits until nobody is in the job.
  private func awaitHelpers(since begun: Double) {
    for _ in 0..<Shared.spins {
      if active.load(ordering: .sequentiallyConsistent) == 0 {
        return patience.note(worked: 0, waited: 0, computed: 0)
      }
      pause()
    }
    let (waiting, computed) = (monotonicSeconds(), helperSeconds)
    while active.load(ordering: .sequentiallyConsistent) > 0 { sched_yield() }
    patience.note(
      worked: waiting - begun, waited: monotonicSeconds() - waiting, computed: helperSeconds - computed)
  }

  /// What the helpers have computed so far, in all.
  private var helperSeconds: Double {
    helpers.reduce(0) { sum, helper in
      var (clock, time) = (clockid_t(), timespec())
      guard unsafe pthread_getcpuclockid(helper, &clock) == 0, unsafe clock_gettime(clock, &time) == 0 else {
        return sum
      }
      return sum + Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
  }

  func stop() {
    stopped.store(true, ordering: .releasing)
    announce()
  }

  func work(as index: Int) {
    var seen = 0
    while true {
      seen = awaitJob(after: seen)
      if stopped.load(ordering: .acquiring) { return }
      // A helper that wakes late finds the job closed and costs the caller nothing.
      active.add(1, ordering: .sequentiallyConsistent)
      if isOpen.load(ordering: .sequentiallyConsistent), let body { pieces.drain(as: index, body) }
      active.subtract(1, ordering: .sequentiallyConsistent)
    }
  }

  private func announce() {
    generation.add(1, ordering: .sequentiallyConsistent)
    if sleepers.load(ordering: .sequentiallyConsistent) > 0 {
      unsafe pthread_mutex_lock(mutex)
      unsafe pthread_cond_broadcast(wake)
      unsafe pthread_mutex_unlock(mutex)
    }
  }

  private func awaitJob(after seen: Int) -> Int {
    for _ in 0..<Shared.spins {
      let now = generation.load(ordering: .acquiring)
      if now != seen { return now }
      pause()
    }
    unsafe pthread_mutex_lock(mutex)
    sleepers.add(1, ordering: .sequentiallyConsistent)
    while generation.load(ordering: .sequentiallyConsistent) == seen { unsafe pthread_cond_wait(wake, mutex) }
    sleepers.subtract(1, ordering: .sequentiallyConsistent)
    unsafe pthread_mutex_unlock(mutex)
    let now = generation.load(ordering: .acquiring)
    temper_leave_processor(Int32(caller.load(ordering: .relaxed)))
    return now
  }

  private func pause() { temper_pause() }
}
