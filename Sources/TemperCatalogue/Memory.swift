import TemperCore
import TemperKernels

/// The only file of the catalogue and the networks that looks at elements through pointers.
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
  package func firstOutside(_ bound: Int, ignored: Set<Int> = []) throws(TemperError) -> (position: Int, value: Int)? {
    let source = try dense()
    func search<T: FixedWidthInteger>(_ type: T.Type) -> (Int, Int)? {
      let elements = unsafe source.pointer.assumingMemoryBound(to: type)
      for start in stride(from: 0, to: count, by: 4096) {
        let block = start..<min(start + 4096, count)
        if T.bitWidth == 8, bound == 2, block.count == 4096 {
          var bits: UInt64 = 0
          for position in stride(from: start, to: start + 4096, by: 8) {
            bits |= unsafe UnsafeRawPointer(elements + position).loadUnaligned(as: UInt64.self)
          }
          if bits & 0xFEFE_FEFE_FEFE_FEFE == 0 { continue }
        }
        // Negative if an element is negative or beyond the bound: no branch, so this is vector code.
        var sign = 0
        for position in block {
          let value = Int(truncatingIfNeeded: unsafe elements[position])
          sign |= value | ((bound - 1) &- value)
        }
        if sign >= 0 { continue }
        for position in block {
          let value = Int(unsafe elements[position])
          if value < 0 || value >= bound, !ignored.contains(value) { return (position, value) }
        }
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

  /// The first row of a mask (N, C) that is 0 at the column which `targets` (N,) name, or where they (N, C) have a
  /// share; ids outside name none.
  package func firstZero(at targets: Tensor) throws(TemperError) -> (row: Int, column: Int)? {
    let mask = try (dtype.byteCount == 1 ? self : copy(as: .uint8)).dense()
    let bytes = unsafe mask.pointer.assumingMemoryBound(to: UInt8.self)
    let columns = shape[1]
    if targets.dtype.isFloating, targets.shape == shape {
      for (at, share) in try targets.array(of: Double.self).enumerated() where share != 0 {
        if unsafe bytes[at] == 0 { return (at / columns, at % columns) }
      }
      return nil
    }
    for (row, id) in try targets.array(of: Int32.self).enumerated() where id >= 0 && Int(id) < columns && row < shape[0]
    {
      if unsafe bytes[row * columns + Int(id)] == 0 { return (row, Int(id)) }
    }
    return nil
  }

  /// A number into a scalar tensor of either real type.
  package func store(_ value: Double) {
    if dtype == .float64 {
      unsafe pointer.storeBytes(of: value, as: Double.self)
    } else {
      unsafe pointer.storeBytes(of: Float(value), as: Float.self)
    }
  }

  /// The same number everywhere in a dense tensor of a real type.
  func setAll(_ value: Double) {
    precondition(isDense && dtype.isFloating)
    if dtype == .float64 {
      unsafe pointer.assumingMemoryBound(to: Double.self).update(repeating: value, count: count)
    } else {
      unsafe pointer.assumingMemoryBound(to: Float.self).update(repeating: Float(value), count: count)
    }
  }

  /// A number on the diagonal of square matrices, 0 elsewhere.
  func setDiagonal(_ value: Double) {
    setAll(0)
    let n = shape.last
    for index in Swift.stride(from: 0, to: count, by: n * n == 0 ? 1 : n * n) {
      for i in 0..<n {
        if dtype == .float64 {
          unsafe pointer.assumingMemoryBound(to: Double.self)[index + i * (n + 1)] = value
        } else {
          unsafe pointer.assumingMemoryBound(to: Float.self)[index + i * (n + 1)] = Float(value)
        }
      }
    }
  }

  /// Of all elements of a dense tensor of a real type, in double precision.
  var sumOfSquares: Double {
    precondition(isDense && dtype.isFloating)
    return dtype == .float64
      ? unsafe temper_sum_squares_f64(pointer.assumingMemoryBound(to: Double.self), count)
      : unsafe temper_sum_squares_f32(pointer.assumingMemoryBound(to: Float.self), count)
  }

  /// Sum of the squares of all elements of a dense real tensor, in double precision, by a tree that depends on the
  /// count only.
  package func sumOfSquares(_ workers: Workers, partial: inout [Double]) -> Double {
    let piece = 1 << 16
    let pieces = (count + piece - 1) / piece
    precondition(isDense && dtype.isFloating && partial.count >= pieces)
    let base = unsafe pointer
    unsafe partial.withUnsafeMutableBufferPointer { sums in
      workers.run(pieces) { index, _ in
        let (first, count) = (index * piece, Swift.min(piece, count - index * piece))
        unsafe sums[index] =
          dtype == .float64
          ? temper_sum_squares_f64(base.assumingMemoryBound(to: Double.self) + first, count)
          : temper_sum_squares_f32(base.assumingMemoryBound(to: Float.self) + first, count)
      }
    }
    return partial[..<pieces].reduce(0, +)
  }

  /// The same bytes from a tensor of the same type and size; both dense.
  @inline(never) package func copyBytes(from source: Tensor) {
    precondition(isDense && source.isDense && byteCount == source.byteCount && dtype == source.dtype)
    unsafe pointer.copyMemory(from: source.pointer, byteCount: byteCount)
  }

  /// Two 64-bit words as four index words, low ones first: the clock of random numbers inside a plan.
  package func setWords(_ key: UInt64, _ step: UInt64) {
    precondition(dtype == .int32 && count == 4)
    unsafe pointer.storeBytes(of: key.littleEndian, as: UInt64.self)
    unsafe (pointer + 8).storeBytes(of: step.littleEndian, as: UInt64.self)
  }

  /// Whether it is the same view of the same memory.
  func isIdentical(to other: Tensor) -> Bool {
    storage === other.storage && byteOffset == other.byteOffset && dtype == other.dtype && shape == other.shape
      && strides == other.strides
  }

  /// Whether two dense tensors of one shape and type are the same elements.
  func isSameMemory(as other: Tensor) -> Bool { unsafe pointer == other.pointer }

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
