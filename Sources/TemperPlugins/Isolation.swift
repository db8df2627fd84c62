import CTemper
import Glibc
import Synchronization
import TemperCore
import TemperIsolation

/// How a plug-in of a process of its own is kept.
package struct IsolationOptions: Sendable {
  /// What becomes of a call that failed, after all retries.
  package enum Failure: Sendable { case error, notANumber }

  /// Bytes of address space that the process may use beyond what it begins with.
  package var memory: UInt64 = 2 << 30
  /// How often a call that ended the process is made again, in a new one.
  package var retries = 0
  package var failure = Failure.error

  package init() {}
}

/// A process that computes the losses of one plug-in. What goes wrong there is an error here; the next call has a new
/// process. One call at a time.
@safe final class Isolation: @unchecked Sendable {
  /// What the process runs: made there, so that nothing of the plug-in is loaded here.
  private final class Service {
    let make: () throws(TemperError) -> [any BatchFunction]
    var functions: [any BatchFunction] = []
    init(_ make: @escaping () throws(TemperError) -> [any BatchFunction]) { self.make = make }
  }

  private let server: OpaquePointer
  private let service: Service
  private let milliseconds: Int32
  private let options: IsolationOptions
  private let log: @Sendable (String) -> Void
  private let turn = Mutex(Layout())
  private let lost = Atomic<Int>(0)

  /// Processes that calls have ended.
  var losses: Int { lost.load(ordering: .relaxed) }

  init(
    _ options: IsolationOptions, milliseconds: Int32, fork: (@convention(c) () -> Int32)?,
    log: @escaping @Sendable (String) -> Void, _ make: @escaping () throws(TemperError) -> [any BatchFunction]
  ) throws(TemperError) {
    (self.options, self.milliseconds, self.log, service) = (options, milliseconds, log, Service(make))
    let work = unsafe isolation_service(
      prepare: { context, message, capacity in
        guard let context = unsafe context else { return 1 }
        let service = unsafe Unmanaged<Service>.fromOpaque(context).takeUnretainedValue()
        do throws(TemperError) { service.functions = try service.make() } catch {
          return unsafe write(error.message, message, capacity)
        }
        return 0
      },
      serve: { context, index, request, message, capacity in
        guard let context = unsafe context, let request = unsafe request else { return 1 }
        let service = unsafe Unmanaged<Service>.fromOpaque(context).takeUnretainedValue()
        let call = unsafe request.load(as: temper_loss_call.self)
        do throws(TemperError) { unsafe try service.functions[Int(index)].evaluate(call) } catch {
          return unsafe write(error.message, message, capacity)
        }
        return 0
      }, context: unsafe Unmanaged.passUnretained(service).toOpaque())
    guard let server = unsafe isolation_start(work, options.memory, fork) else {
      throw TemperError(.inputOutput, "A process for the plug-in could not be started: \(reason(errno)).")
    }
    unsafe self.server = unsafe server
  }

  deinit { unsafe isolation_stop(server) }

  /// What limits the process, for the probe's report.
  var protections: String {
    let active = unsafe isolation_protections(server)
    let has = { (bit: Int) in Int(active) & bit != 0 }
    let files = [has(ISOLATION_SECCOMP) ? "seccomp" : nil, has(ISOLATION_LANDLOCK) ? "Landlock" : nil]
    let network = [has(ISOLATION_SECCOMP) ? "seccomp" : nil, has(ISOLATION_LANDLOCK_NETWORK) ? "Landlock" : nil]
    func words(_ what: String, _ means: [String?], _ without: String) -> String {
      let means = means.compactMap { $0 }
      return means.isEmpty ? without : "\(what) (\(means.joined(separator: ", ")))"
    }
    return
      "in a process of its own: \(options.memory >> 20) MB of memory, \(milliseconds) ms a call (rlimits, a keeper); "
      + words("no files written", files, "files can be written, the kernel has neither seccomp nor Landlock") + "; "
      + words("no network", network, "the network is open, the kernel has neither seccomp nor Landlock") + "; "
      + words("no other programs", files, "other programs can be started")
  }

  /// Computes a batch with function `index` in the process.
  func evaluate(_ index: Int, _ batch: IsolatedBatch) throws(TemperError) {
    var attempt = 0
    while true {
      do throws(TemperError) { return try once(index, batch) } catch {
        let isProcess = error.code == .cancelled
        var error = error
        error.code = .pluginFailed
        if isProcess && attempt < options.retries {
          attempt += 1
          log("\(error.message) It is called again, \(attempt) of \(options.retries) times.")
          continue
        }
        guard options.failure == .notANumber else { throw error }
        log("\(error.message) The batch counts as not a number.")
        return batch.fillWithNaN()
      }
    }
  }

  /// One attempt. An error with the code `cancelled` says that the process ended.
  private func once(_ index: Int, _ batch: IsolatedBatch) throws(TemperError) {
    let result = turn.withLock { layout -> Result<Void, TemperError> in
      do throws(TemperError) { return .success(try exchange(&layout, index, batch)) } catch { return .failure(error) }
    }
    try result.get()
  }

  private func exchange(_ layout: inout Layout, _ index: Int, _ batch: IsolatedBatch) throws(TemperError) {
    guard let arena = unsafe isolation_arena(server, UInt64(batch.byteCount)) else {
      throw TemperError(
        .outOfMemory, "The system refused \(batch.byteCount) bytes that are shared with the plug-in's process.")
    }
    let sizes = batch.sizes
    if layout.sizes != sizes || layout.byteCount < batch.byteCount {
      unsafe isolation_arrange(server, batch.slots, UInt32(batch.slots.count))
      layout = Layout(sizes: sizes, byteCount: batch.byteCount)
    }
    let request = unsafe batch.send(to: UnsafeMutableRawPointer(arena))
    var message = [CChar](repeating: 0, count: Int(ISOLATION_MESSAGE))
    let answer = unsafe isolation_call(server, Int32(index), request, milliseconds, &message)
    let text = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    switch Int(answer.result.outcome) {
    case ISOLATION_ANSWERED:
      if let place = unsafe batch.damage(in: UnsafeMutableRawPointer(arena)) {
        throw TemperError(.pluginFailed, "It wrote before the start of \(place).")
      }
      guard answer.result.detail == 0 else {
        throw TemperError(.pluginFailed, text.isEmpty ? "It failed and gave no reason." : text)
      }
      unsafe batch.receive(from: UnsafeMutableRawPointer(arena))
      return
    case ISOLATION_UNPREPARED: throw TemperError(.pluginFailed, text)
    default: break
    }
    lost.add(1, ordering: .relaxed)
    // The probe does not try again what failed for good: only an end of the process can be better the next time.
    var error = TemperError(.cancelled, "")
    error.message = ending(answer, batch, UInt(bitPattern: arena))
    throw error
  }

  /// How the process ended, in words.
  private func ending(_ answer: isolation_answer, _ batch: IsolatedBatch, _ arena: UInt) -> String {
    let detail = answer.result.detail
    switch Int(answer.result.outcome) {
    case ISOLATION_SIGNALLED:
      let place = batch.describe(answer.result.address, arena: arena)
      let isNearLimit = answer.memory > options.memory / 10 * 9
      let how =
        if let place { "it touched \(place)" } else if answer.result.address != 0 {
          "it touched memory at 0x\(String(answer.result.address, radix: 16)), which it does not have"
        } else { "it ended in a signal" }
      let memory =
        isNearLimit ? "; it had used \(answer.memory >> 20) MB of the \(options.memory >> 20) MB that it may use" : ""
      return "It crashed (\(signalName(detail))): \(how)\(memory)."
    case ISOLATION_EXITED: return "It ended its process (exit status \(detail)); a plug-in must return."
    case ISOLATION_TIMED_OUT: return "It did not return within \(milliseconds) milliseconds."
    default: return "A process for it could not be started: \(reason(detail))."
    }
  }

  private struct Layout {
    var sizes: [Int] = []
    var byteCount = 0
  }
}

/// A function that runs in the process of an `Isolation`.
struct IsolatedFunction: BatchFunction {
  let process: Isolation
  let index: Int
  let loss: LossDescriptor
  let precisions: Precisions
  let hasGradient: Bool

  var isolation: Isolation? { process }

  @unsafe func evaluate(_ call: temper_loss_call) throws(TemperError) {
    unsafe try process.evaluate(index, IsolatedBatch(call, loss))
  }
}

/// A text into C's memory, as far as there is room; 1.
private func write(_ text: String, _ message: UnsafeMutablePointer<CChar>?, _ capacity: UInt64) -> Int32 {
  guard let message = unsafe message, capacity > 0 else { return 1 }
  let bytes = Array(text.utf8.prefix(Int(capacity) - 1))
  for (index, byte) in bytes.enumerated() { unsafe message[index] = CChar(bitPattern: byte) }
  unsafe message[bytes.count] = 0
  return 1
}

private func reason(_ number: Int32) -> String {
  unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
}
