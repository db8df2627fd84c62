import TemperCore

/// The only file of the networks that reads elements through pointers.
extension Tensor {
  /// The first element, in row-major order, that is not in `range`; nil if all are. For arrays of whole numbers.
  func firstInteger(outside range: Range<Int>) throws(TemperError) -> Int? {
    let source = try dense()
    func search<T: FixedWidthInteger>(_ type: T.Type) -> Int? {
      let base = unsafe source.pointer
      for index in 0..<count {
        let value = unsafe Int((base + index * MemoryLayout<T>.stride).loadUnaligned(as: T.self))
        if !range.contains(value) { return value }
      }
      return nil
    }
    switch dtype {
    case .int32: return search(Int32.self)
    case .int64: return search(Int64.self)
    case .uint8, .bool: return search(UInt8.self)
    case .int8: return search(Int8.self)
    case .float32, .float64: return nil
    }
  }
}
