import Glibc

/// Memory that tensors share: owned and 64-byte aligned, or borrowed with a release action.
@safe public final class Storage: @unchecked Sendable {
  public let base: UnsafeMutableRawPointer
  public let byteCount: Int
  public let isReadOnly: Bool
  private static let (largePagesFrom, alignment) = (4 << 20, 64)
  /// What was taken from the system, if it is owned: `base` lies at the next multiple of the alignment. Aligned memory
  /// that is given back to glibc before 2.38 serves no later request of the same size.
  private let taken: UnsafeMutableRawPointer?
  private let release: (@Sendable () -> Void)?

  /// Owned memory, all zero unless its contents do not matter.
  public init(byteCount: Int, isCleared: Bool = true) throws(TemperError) {
    if byteCount >= SystemMemory.checkedFrom, let available = SystemMemory.available(), byteCount > available {
      throw TemperError(
        .outOfMemory, "\(byteCount) bytes were asked for and \(available) are free; use smaller batches or arrays.")
    }
    guard let raw = unsafe malloc(Swift.max(byteCount, Storage.alignment) &+ Storage.alignment) else {
      throw TemperError(
        .outOfMemory, "\(byteCount) bytes were asked for and the system refused; use smaller batches or arrays.")
    }
    let memory = unsafe raw.alignedUp(toMultipleOf: Storage.alignment)
    if byteCount >= Storage.largePagesFrom {
      // Large arrays are passed through in order: fewer pages are fewer waits for their addresses. Only a wish.
      let inside = unsafe memory + (4096 - Int(bitPattern: memory) % 4096) % 4096
      _ = unsafe madvise(inside, byteCount - 4096, MADV_HUGEPAGE)
    }
    if isCleared { unsafe memset(memory, 0, Swift.max(byteCount, Storage.alignment)) }
    unsafe (taken, base) = (raw, memory)
    self.byteCount = byteCount
    isReadOnly = false
    release = nil
  }

  /// Borrowed memory; `release` runs when the last tensor over it is gone.
  @unsafe public init(
    borrowing base: UnsafeMutableRawPointer, byteCount: Int, isReadOnly: Bool,
    release: @escaping @Sendable () -> Void
  ) {
    unsafe (taken, self.base) = (nil, base)
    self.byteCount = byteCount
    self.isReadOnly = isReadOnly
    self.release = release
  }

  deinit {
    if let release = release { release() } else { unsafe free(taken) }
  }
}
