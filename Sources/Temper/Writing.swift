import CTemper
import TemperCore

/// A text result into memory of the caller; with no memory, only its length.
func deliver(
  _ result: String, _ text: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?
) throws(TemperError) {
  let bytes = Array(result.utf8)
  if let length = unsafe length { unsafe length.pointee = UInt64(bytes.count) }
  guard let text = unsafe text else {
    if capacity > 0 {
      throw TemperError(.invalidArgument, "`text` is NULL and has a capacity of \(capacity).", argument: 0)
    }
    if unsafe length == nil {
      throw TemperError(.invalidArgument, "`text` and `length` are both NULL: there is nothing to do.", argument: 0)
    }
    return
  }
  guard capacity > UInt64(bytes.count) else {
    throw TemperError(
      .outOfRange, "The text needs \(bytes.count + 1) bytes with its NUL; there are \(capacity).", argument: 1)
  }
  let target = UnsafeMutableRawPointer(text)
  unsafe bytes.withUnsafeBytes { source in
    if let base = source.baseAddress { unsafe target.copyMemory(from: base, byteCount: source.count) }
  }
  unsafe target.storeBytes(of: 0, toByteOffset: bytes.count, as: UInt8.self)
}

/// A shape into `rank` and `sizes`.
func deliver(
  _ shape: Shape, _ rank: UnsafeMutablePointer<Int32>?, _ sizes: UnsafeMutablePointer<Int64>?
) throws(TemperError) {
  let rank = unsafe try required(rank, "rank", 0)
  let sizes = unsafe try required(sizes, "sizes", 1)
  unsafe rank.pointee = Int32(shape.rank)
  for axis in 0..<shape.rank { unsafe sizes[axis] = Int64(shape[axis]) }
}

/// A result struct that begins with its size, as far as the caller's struct reaches; the size itself stays.
func fill<T>(_ out: UnsafeMutablePointer<T>?, _ name: String, _ argument: Int32, _ value: T) throws(TemperError) {
  let out = unsafe try required(out, name, argument)
  let size = unsafe try sizeOfStruct(UnsafeRawPointer(out), name, argument)
  let count = Swift.min(size, MemoryLayout<T>.size)
  unsafe withUnsafeBytes(of: value) { bytes in
    unsafe UnsafeMutableRawBufferPointer(start: out, count: count)[4...]
      .copyBytes(from: UnsafeRawBufferPointer(rebasing: bytes[4..<count]))
  }
}

/// A tensor of the caller's that a call writes.
func result(_ handle: OpaquePointer?, _ name: String, _ argument: Int32) throws(TemperError) -> Tensor {
  let tensor = unsafe try tensor(handle, argument)
  try tensor.writable(name, argument)
  return tensor
}

extension Tensor {
  func writable(_ name: String, _ argument: Int32) throws(TemperError) {
    guard !isReadOnly else {
      throw TemperError(.invalidArgument, "`\(name)` is read-only and cannot be written.", argument: argument)
    }
    guard !sharesElements else {
      throw TemperError(
        .invalidShape, "`\(name)` cannot be written: with strides \(strides) several elements share memory.",
        argument: argument)
    }
  }

  /// Whether two elements may share memory: sorted by step, each axis must step over all of those before it.
  private var sharesElements: Bool {
    guard count > 1, !isDense else { return false }
    var reach = 0
    let axes = zip(shape.sizes, strides).filter { $0.0 > 1 }.map { (size: $0.0, step: Swift.abs($0.1)) }
    for axis in axes.inOrder({ $0.step < $1.step }) {
      if axis.step <= reach { return true }
      reach += axis.step * (axis.size - 1)
    }
    return false
  }

  /// First and last byte (exclusive) that elements lie in.
  var bytes: Range<UInt> {
    guard count > 0 else { return 0..<0 }
    var (low, high) = (0, dtype.byteCount)
    for axis in 0..<shape.rank {
      let reach = (shape[axis] - 1) * strides[axis] * dtype.byteCount
      if reach < 0 { low += reach } else { high += reach }
    }
    let start = unsafe UInt(bitPattern: pointer)
    return start &+ UInt(bitPattern: low)..<start &+ UInt(bitPattern: high)
  }

  /// Two arrays of one call of which one is written must not overlap.
  func apart(from other: Tensor, _ name: String, _ otherName: String, _ argument: Int32) throws(TemperError) {
    guard bytes.overlaps(other.bytes) else { return }
    throw TemperError(.invalidArgument, "`\(name)` and `\(otherName)` overlap in memory.", argument: argument)
  }
}
