import TemperCore

/// The only file of the catalogue that looks at elements through pointers.
extension Tensor {
  /// Addresses that the view touches.
  var addressRange: Range<UInt> {
    let first = unsafe UInt(bitPattern: pointer)
    var (low, high) = (0, dtype.byteCount)
    for (size, stride) in zip(shape.sizes, strides) where size > 0 {
      let reach = (size - 1) * stride * dtype.byteCount
      if reach < 0 { low += reach } else { high += reach }
    }
    return (first &+ UInt(bitPattern: low))..<(first &+ UInt(bitPattern: high))
  }

  /// The first element, in row-major order, that is neither in 0..<bound nor `ignored`.
  func firstOutside(_ bound: Int, ignored: Set<Int>) throws(TemperError) -> (position: Int, value: Int)? {
    let source = try dense()
    func search<T: FixedWidthInteger>(_ type: T.Type) -> (Int, Int)? {
      let elements = unsafe source.pointer.assumingMemoryBound(to: type)
      for position in 0..<count {
        let value = Int(unsafe elements[position])
        if value < 0 || value >= bound, !ignored.contains(value) { return (position, value) }
      }
      return nil
    }
    switch dtype {
    case .int32: return search(Int32.self)
    case .int64: return search(Int64.self)
    case .uint8, .bool: return search(UInt8.self)
    case .float32, .float64: return nil
    }
  }

  /// A number into a scalar tensor of either real type.
  func store(_ value: Double) {
    if dtype == .float64 {
      unsafe pointer.storeBytes(of: value, as: Double.self)
    } else {
      unsafe pointer.storeBytes(of: Float(value), as: Float.self)
    }
  }

  /// The number in a scalar tensor of either real type.
  package var scalar: Double {
    dtype == .float64
      ? unsafe pointer.loadUnaligned(as: Double.self) : Double(unsafe pointer.loadUnaligned(as: Float.self))
  }
}

extension Storage {
  func overlaps(_ other: Storage) -> Bool {
    let (a, b) = unsafe (UInt(bitPattern: base), UInt(bitPattern: other.base))
    return a < b &+ UInt(other.byteCount) && b < a &+ UInt(byteCount)
  }
}
