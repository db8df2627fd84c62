import CTemper
import Glibc
import TemperCore
import TemperEdge

/// Runs the body of a C function: an error becomes a status, and its text goes to `error` and to this thread's copy.
func edge(
  _ error: UnsafeMutablePointer<temper_error>?, _ body: () throws(TemperError) -> Void
) -> Int32 {
  do throws(TemperError) {
    try body()
    if let error = unsafe error {
      unsafe error.pointee.code = TEMPER_OK
      unsafe error.pointee.argument = -1
      unsafe terminate(error)
    }
    return TEMPER_OK
  } catch let failure {
    let last = unsafe edge_thread_error().assumingMemoryBound(to: temper_error.self)
    unsafe write(failure, to: last)
    if let error = unsafe error { unsafe write(failure, to: error) }
    return failure.code.rawValue
  }
}

private func terminate(_ error: UnsafeMutablePointer<temper_error>) {
  unsafe withUnsafeMutableBytes(of: &error.pointee.origin) { unsafe $0[0] = 0 }
  unsafe withUnsafeMutableBytes(of: &error.pointee.message) { unsafe $0[0] = 0 }
}

private func write(_ failure: TemperError, to error: UnsafeMutablePointer<temper_error>) {
  unsafe error.pointee.code = failure.code.rawValue
  unsafe error.pointee.argument = failure.argument
  unsafe withUnsafeMutableBytes(of: &error.pointee.origin) { unsafe copy(failure.origin, to: $0) }
  unsafe withUnsafeMutableBytes(of: &error.pointee.message) { unsafe copy(failure.message, to: $0) }
}

/// The text with its NUL, cut at a whole character, with "..." where something is missing.
private func copy(_ text: String, to field: UnsafeMutableRawBufferPointer) {
  var bytes = Array(text.utf8)
  if bytes.count >= field.count {
    bytes.removeSubrange((field.count - 4)...)
    while let last = bytes.last, last & 0xC0 == 0x80 { bytes.removeLast() }
    if let last = bytes.last, last >= 0xC0 { bytes.removeLast() }
    bytes += Array("...".utf8)
  }
  unsafe field.copyBytes(from: bytes)
  unsafe field[bytes.count] = 0
}

/// Makes a handle and gives it to the caller; `out` is NULL whenever the call fails.
func edge<Value: Handled>(
  returning out: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<temper_error>?,
  _ make: () throws(TemperError) -> Value
) -> Int32 {
  if let out = unsafe out { unsafe out.pointee = nil }
  return unsafe edge(error) { () throws(TemperError) in
    let out = unsafe try required(out, "out", 0)
    unsafe out.pointee = try Handles.all.make(try make())
  }
}

/// Gives a handle back; NULL is fine.
func edge<Value: Handled>(freeing handle: OpaquePointer?, _ type: Value.Type) -> Int32 {
  if unsafe handle == nil { return TEMPER_OK }
  return edge(nil) { () throws(TemperError) in unsafe try Handles.all.free(handle, as: type) }
}
