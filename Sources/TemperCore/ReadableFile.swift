import Glibc

/// A regular file, read piece by piece.
///
/// Reading copies: a mapped file that another program cuts short would kill the process at the next access. `mapped`
/// is for who was promised that nobody does.
public final class ReadableFile: Sendable {
  public let path: String
  public let byteCount: Int
  /// When it was last changed, as text.
  public let modified: String
  private let descriptor: Int32

  public init(_ path: String) throws(TemperError) {
    try File.checkPath(path)
    descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw File.failure("cannot be opened", path) }
    self.path = path
    var status = stat()
    let state = unsafe fstat(descriptor, &status)
    byteCount = Int(status.st_size)
    modified = "\(status.st_mtim.tv_sec).\(status.st_mtim.tv_nsec)"
    guard state == 0 else { throw File.failure("cannot be read", path) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw TemperError(.inputOutput, "\"\(path)\" is not a regular file.")
    }
  }

  deinit { close(descriptor) }

  /// These bytes, uint8, 64-byte aligned; all must be there.
  public func read(_ range: Range<Int>) throws(TemperError) -> Tensor {
    try check(range)
    let bytes = try Tensor(zeros: try Shape(validating: [range.count]), .uint8)
    try fill(bytes, from: range)
    return bytes
  }

  /// The same into the start of `buffer`, which must be large enough: a view of it.
  package func read(_ range: Range<Int>, into buffer: Tensor) throws(TemperError) -> Tensor {
    try check(range)
    let bytes = try buffer.slice(0..<range.count)
    try fill(bytes, from: range)
    return bytes
  }

  /// The whole file as read-only memory that the system fills page by page when it is looked at. The file must stay as
  /// it is as long as the memory is used.
  package func mapped() throws(TemperError) -> Storage {
    guard byteCount > 0 else { throw TemperError(.malformedFile, "\"\(path)\" is empty.") }
    let memory = unsafe mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0)
    guard unsafe memory != MAP_FAILED, let base = unsafe memory else { throw File.failure("cannot be mapped", path) }
    let (address, length) = (UInt(bitPattern: base), byteCount)
    return unsafe Storage(borrowing: base, byteCount: length, isReadOnly: true) {
      _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: address), length)
    }
  }

  private func check(_ range: Range<Int>) throws(TemperError) {
    guard range.lowerBound >= 0, range.upperBound <= byteCount else {
      throw TemperError(
        .malformedFile,
        "\"\(path)\" has \(byteCount) bytes; bytes \(range.lowerBound) to \(range.upperBound) are asked for.")
    }
  }

  private func fill(_ bytes: Tensor, from range: Range<Int>) throws(TemperError) {
    var filled = 0
    while filled < bytes.count {
      let count = unsafe pread(descriptor, bytes.pointer + filled, bytes.count - filled, range.lowerBound + filled)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw File.failure("cannot be read", path) }
      guard count > 0 else {
        throw TemperError(.inputOutput, "\"\(path)\" became shorter while it was read.")
      }
      filled += count
    }
  }
}
