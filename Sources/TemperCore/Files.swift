import Glibc

/// Files as whole things: read at once, replaced at once.
public enum File {
  /// The bytes of a regular file, 64-byte aligned.
  public static func read(_ path: String) throws(TemperError) -> Tensor {
    let file = try ReadableFile(path)
    return try file.read(0..<file.byteCount)
  }

  /// Writes a file that is there whole or not at all, whatever happens meanwhile: a temporary file beside it, flushed
  /// to the disk, takes its name at the end. An older file of that name stays until then.
  public static func replace(
    _ path: String, _ body: (inout FileWriter) throws(TemperError) -> Void
  ) throws(TemperError) {
    try checkPath(path)
    let slash = path.lastIndex(of: "/")
    let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
    guard !name.isEmpty else { throw TemperError(.inputOutput, "\"\(path)\" names a directory, not a file.") }
    var temporary = ""
    var descriptor: Int32 = -1
    for attempt in 0..<100 where descriptor < 0 {
      temporary = "\(directory)/.\(name.prefix(60)).\(getpid()).\(attempt).tmp"
      descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
      guard descriptor >= 0 || errno == EEXIST else { throw failure("cannot be written", path) }
    }
    guard descriptor >= 0 else { throw failure("cannot be written", path) }
    do throws(TemperError) {
      var writer = FileWriter(descriptor: descriptor, path: path)
      try body(&writer)
      guard fsync(descriptor) == 0 else { throw failure("cannot be written", path) }
    } catch {
      close(descriptor)
      unsafe unlink(temporary)
      throw error
    }
    guard close(descriptor) == 0, unsafe Glibc.rename(temporary, path) == 0 else {
      let error = failure("cannot be written", path)
      unsafe unlink(temporary)
      throw error
    }
    // The new name is on the disk only once its directory is.
    let folder = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { throw failure("cannot be flushed to the disk", path) }
    defer { close(folder) }
    // Some file systems cannot flush a directory; there the rename is as safe as it gets.
    guard fsync(folder) == 0 || errno == EINVAL || errno == EROFS else {
      throw failure("cannot be flushed to the disk", path)
    }
  }

  /// Gives a file another name in the same folder; an older file of that name is gone then.
  public static func rename(_ path: String, to name: String) throws(TemperError) {
    try checkPath(path)
    try checkPath(name)
    guard unsafe Glibc.rename(path, name) == 0 else { throw failure("cannot be written", name) }
  }

  public static func remove(_ path: String) throws(TemperError) {
    try checkPath(path)
    guard unsafe unlink(path) == 0 else { throw failure("cannot be removed", path) }
  }

  static func checkPath(_ path: String) throws(TemperError) {
    guard !path.isEmpty, !path.utf8.contains(0) else {
      throw TemperError(.invalidArgument, "A path has at least one character and no zero byte.")
    }
  }

  static func failure(_ what: String, _ path: String) -> TemperError {
    let reason = unsafe String(cString: strerror(errno))
    return TemperError(.inputOutput, "\"\(path)\" \(what): \(reason).")
  }
}

/// What `File.replace` hands to its body: bytes go in one after the other.
public struct FileWriter: ~Copyable {
  private let descriptor: Int32
  private let path: String
  /// Bytes written so far.
  public private(set) var count = 0

  init(descriptor: Int32, path: String) { (self.descriptor, self.path) = (descriptor, path) }

  public mutating func write(_ bytes: [UInt8]) throws(TemperError) {
    try write(try Tensor(bytes))
  }

  /// Replaces bytes that were written before.
  public mutating func overwrite(_ bytes: [UInt8], at offset: Int) throws(TemperError) {
    guard offset >= 0, offset + bytes.count <= count else {
      throw TemperError(
        .invalidArgument, "\(bytes.count) bytes at \(offset) do not lie in the \(count) written so far.")
    }
    var written = 0
    while written < bytes.count {
      let part = unsafe bytes.withUnsafeBytes { bytes in
        unsafe pwrite(
          descriptor, bytes.baseAddress.map { unsafe $0 + written }, bytes.count - written, offset + written)
      }
      if part < 0 && errno == EINTR { continue }
      guard part > 0 else { throw File.failure("cannot be written", path) }
      written += part
    }
  }

  /// The elements in row-major order, as they are in memory.
  public mutating func write(_ tensor: Tensor) throws(TemperError) {
    let source = try tensor.dense()
    var written = 0
    while written < source.byteCount {
      let count = unsafe Glibc.write(descriptor, source.pointer + written, source.byteCount - written)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw File.failure("cannot be written", path) }
      written += count
    }
    count += written
  }
}
