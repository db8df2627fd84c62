import Glibc
import TemperCore

/// Files of libraries: where they really are, and what is in them.
enum LibraryFile {
  private static let largest = 1 << 30

  /// The absolute path without symbolic links.
  static func resolve(_ path: String) throws(TemperError) -> String {
    guard let resolved = unsafe realpath(path, nil) else {
      throw TemperError(.inputOutput, "The file cannot be found: \(reason()).")
    }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
  }

  static func read(_ path: String) throws(TemperError) -> [UInt8] {
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw TemperError(.inputOutput, "The file cannot be opened: \(reason()).") }
    defer { close(file) }
    var status = stat()
    guard unsafe fstat(file, &status) == 0 else {
      throw TemperError(.inputOutput, "The file cannot be looked at: \(reason()).")
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw TemperError(.pluginFailed, "It is not a file; a plug-in is a shared library.")
    }
    guard status.st_size <= largest else { throw TemperError(.pluginFailed, "It is larger than 1 GB.") }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var filled = 0
    while filled < bytes.count {
      let count = unsafe bytes.withUnsafeMutableBytes { room in
        unsafe Glibc.read(file, room.baseAddress! + filled, room.count - filled)
      }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw TemperError(.inputOutput, "The file cannot be read: \(reason()).") }
      if count == 0 { break }
      filled += count
    }
    return Array(bytes[..<filled])
  }

  static func reason() -> String {
    let number = errno
    return unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
  }
}
