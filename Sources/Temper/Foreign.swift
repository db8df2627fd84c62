import CTemper

/// A pointer of the caller's that callbacks get back. Temper never looks behind it; what may be done with it on which
/// thread is the caller's promise (temper.h, thread tags).
@safe struct ForeignPointer: @unchecked Sendable {
  let pointer: UnsafeMutableRawPointer?
  @unsafe init(_ pointer: UnsafeMutableRawPointer?) { unsafe self.pointer = pointer }
}

/// Calls the destroy function of a callback once, when nothing needs the callback any more.
@safe final class ForeignOwner: Sendable {
  let user: ForeignPointer
  private let destroy: temper_destroy_function?

  @unsafe init(_ user: UnsafeMutableRawPointer?, _ destroy: temper_destroy_function?) {
    unsafe (self.user, self.destroy) = (ForeignPointer(user), destroy)
  }

  deinit { if let destroy = unsafe destroy { unsafe destroy(user.pointer) } }
}
