import Glibc

/// What the system can give without taking memory from other programs or ending one of them.
enum SystemMemory {
  /// Requests from here on are compared with what there is: Linux grants more and ends the process when it is used.
  static let checkedFrom = 1 << 28

  /// Bytes, from /proc/meminfo; nil where there is none.
  static func available() -> Int? {
    let descriptor = unsafe open("/proc/meminfo", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
    guard count > 0 else { return nil }
    // A line such as "MemAvailable:   16011132 kB".
    for line in bytes[..<count].split(separator: UInt8(ascii: "\n")) where line.starts(with: "MemAvailable:".utf8) {
      let digits = line.filter { $0 >= 0x30 && $0 <= 0x39 }
      return Int(String(decoding: digits, as: UTF8.self)).map { $0 << 10 }
    }
    return nil
  }
}
