import Glibc
import TemperCore
import TemperIsolation

/// Memory that a child process shares, its last byte before a page that traps, known bytes before its first.
@safe final class GuardedArray {
  let name: String
  let count: Int
  private let region: UnsafeMutableRawPointer
  private let regionBytes: UInt64
  private static let canary: UInt8 = 0xA5

  init(_ name: String, byteCount: Int) throws(TemperError) {
    (self.name, count) = (name, byteCount)
    var bytes = UInt64(max(byteCount, 1))
    guard let region = unsafe isolation_map(&bytes) else {
      throw TemperError(.outOfMemory, "The system refused memory for the probe.")
    }
    unsafe (self.region, regionBytes) = (region, bytes)
    unsafe region.initializeMemory(as: UInt8.self, repeating: GuardedArray.canary, count: Int(bytes))
  }

  deinit { unsafe isolation_unmap(region, regionBytes) }

  /// The first byte of the array.
  @unsafe var pointer: UnsafeMutableRawPointer { unsafe region + Int(regionBytes) - count }

  /// Bytes at the front of the region that nobody may write.
  var isCanaryAlive: Bool {
    unsafe UnsafeRawBufferPointer(start: region, count: Int(regionBytes) - count).allSatisfy {
      $0 == GuardedArray.canary
    }
  }

  func makeReadOnly() { _ = unsafe isolation_protect(region, regionBytes, 0) }

  /// What lies at a faulting address: "12 bytes past its end"; nil if it is not near this array.
  func describe(_ address: UInt64) -> String? {
    let start = unsafe UInt64(UInt(bitPattern: pointer))
    let end = start + UInt64(count)
    let (low, high) = unsafe (UInt64(UInt(bitPattern: region)), UInt64(UInt(bitPattern: region)) + regionBytes)
    if address >= end && address < high + 4096 { return "\(address - end) bytes past the end of \(name)" }
    if address < start && address + 4096 >= low { return "\(start - address) bytes before the start of \(name)" }
    if address >= start && address < end { return "\(name), which is only to be read" }
    return nil
  }

  /// A text, as far as there is room.
  func write(_ text: String) {
    let bytes = Array(text.utf8.prefix(count - 1))
    for (index, byte) in bytes.enumerated() { unsafe pointer.storeBytes(of: byte, toByteOffset: index, as: UInt8.self) }
    unsafe pointer.storeBytes(of: 0, toByteOffset: bytes.count, as: UInt8.self)
  }

  var text: String {
    unsafe String(
      decoding: unsafe UnsafeRawBufferPointer(start: pointer, count: count).prefix { $0 != 0 }, as: UTF8.self)
  }

  // Elements as numbers, for filling and for looking at results.

  func fill(_ values: [Double], as type: DType) {
    for (index, value) in values.enumerated() {
      switch type {
      case .float64: unsafe pointer.storeBytes(of: value, toByteOffset: index * 8, as: Double.self)
      case .int32: unsafe pointer.storeBytes(of: Int32(value), toByteOffset: index * 4, as: Int32.self)
      default: unsafe pointer.storeBytes(of: Float(value), toByteOffset: index * 4, as: Float.self)
      }
    }
  }

  func numbers(as type: DType) -> [Double] {
    let width = type.byteCount
    return (0..<count / width).map { index in
      type == .float64
        ? unsafe pointer.load(fromByteOffset: index * 8, as: Double.self)
        : Double(unsafe pointer.load(fromByteOffset: index * 4, as: Float.self))
    }
  }

  /// Positions, of elements of `width` bytes, that still hold what the memory began with.
  func untouched(width: Int) -> Int? {
    let bytes = unsafe UnsafeRawBufferPointer(start: pointer, count: count)
    return (0..<count / width).first { index in
      (0..<width).allSatisfy { unsafe bytes[index * width + $0] == GuardedArray.canary }
    }
  }
}
