import CTemper
import Glibc
import TemperCore
import TemperIsolation

/// Runs `body` in a child process; what goes wrong there becomes an error.
/// `fork` makes the child where something must be done around that.
func isolated(
  milliseconds: Int32, arrays: [GuardedArray] = [], fork: (@convention(c) () -> Int32)? = nil, _ body: () -> Int32
) throws(TemperError) -> Int32 {
  let result = withoutActuallyEscaping(body) { body in
    var call = IsolatedCall(body: body)
    return unsafe withUnsafeMutablePointer(to: &call) { pointer in
      unsafe isolation_run(
        { argument in
          unsafe argument?.assumingMemoryBound(to: IsolatedCall.self).pointee.body() ?? -1
        }, pointer, milliseconds, fork)
    }
  }
  let detail = result.detail
  switch Int(result.outcome) {
  case ISOLATION_RETURNED: return detail
  case ISOLATION_SIGNALLED:
    let name = signalName(detail)
    let place = arrays.lazy.compactMap { $0.describe(result.address) }.first
    let how =
      if let place { "it touched \(place)" } else if detail == SIGSEGV || detail == SIGBUS {
        "it touched memory at 0x\(String(result.address, radix: 16)), which it does not have"
      } else { "it ended in a signal" }
    throw TemperError(.pluginFailed, "It crashed (\(name)): \(how).")
  case ISOLATION_EXITED:
    throw TemperError(.pluginFailed, "It ended the process (exit status \(detail)); a plug-in must return.")
  case ISOLATION_TIMED_OUT:
    throw TemperError(.pluginFailed, "It did not return within \(milliseconds) milliseconds.")
  default:
    let reason = unsafe strerror(detail).map { unsafe String(cString: $0) } ?? "error \(detail)"
    throw TemperError(.inputOutput, "The probe could not start a child process: \(reason).")
  }
}

private struct IsolatedCall {
  let body: () -> Int32
}

func signalName(_ number: Int32) -> String {
  switch number {
  case SIGSEGV: "SIGSEGV"
  case SIGBUS: "SIGBUS"
  case SIGILL: "SIGILL"
  case SIGFPE: "SIGFPE"
  case SIGABRT: "SIGABRT"
  case SIGTRAP: "SIGTRAP"
  case SIGSYS: "SIGSYS"
  case SIGKILL: "SIGKILL"
  default: "signal \(number)"
  }
}
