import Glibc
import Synchronization

/// Memory that tensors share: owned and 64-byte aligned, or borrowed with a release action.
@safe public final class Storage: @unchecked Sendable {
  public let base: UnsafeMutableRawPointer
  public let byteCount: Int
  public let isReadOnly: Bool
  private static let (alignment, largeFrom) = (64, 4 << 20)
  /// Large arrays begin at these steps of a block in turn. At like places they would lie in the same banks of the
  /// machine's memory, and a loop over several of them waits there: adan's, over six, takes a quarter less time so.
  package static let (step, block) = (16 << 10, 128 << 10)
  private static let largeCount = Atomic<Int>(0)
  /// What was taken from the system, if it is owned: `base` lies at its place in it. Aligned memory that is given back
  /// to glibc before 2.38 serves no later request of the same size.
  private let taken: UnsafeMutableRawPointer?
  private let release: (@Sendable () -> Void)?

  /// Owned memory, all zero unless its contents do not matter.
  public init(byteCount: Int, isCleared: Bool = true) throws(TemperError) {
    if byteCount >= SystemMemory.checkedFrom, let available = SystemMemory.available(), byteCount > available {
      throw TemperError(
        .outOfMemory, "\(byteCount) bytes were asked for and \(available) are free; use smaller batches or arrays.")
    }
    let isLarge = byteCount >= Storage.largeFrom
    let block = isLarge ? Storage.block : Storage.alignment
    guard let raw = unsafe malloc(Swift.max(byteCount, Storage.alignment) &+ block) else {
      throw TemperError(
        .outOfMemory, "\(byteCount) bytes were asked for and the system refused; use smaller batches or arrays.")
    }
    let place = isLarge ? Storage.largeCount.add(1, ordering: .relaxed).oldValue &* Storage.step : 0
    let memory = unsafe raw + ((place &- Int(bitPattern: raw)) & (block - 1))
    if isLarge {
      // Large arrays are passed through in order: fewer pages are fewer waits for their addresses. Only a wish.
      _ = unsafe madvise(memory, byteCount, MADV_HUGEPAGE)
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
