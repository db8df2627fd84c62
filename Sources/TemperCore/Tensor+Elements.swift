import TemperKernels

/// The only file of the core that turns tensors into pointers.
extension Tensor {
  /// The first element. Valid while the tensor's storage lives.
  @unsafe public var pointer: UnsafeMutableRawPointer { unsafe storage.base + byteOffset }

  public init<T: Element>(_ values: [T], shape: Shape? = nil) throws(TemperError) {
    let shape = shape ?? Shape([values.count])
    guard shape.count == values.count else {
      throw TemperError(.invalidShape, "Shape \(shape) holds \(shape.count) elements; \(values.count) came.")
    }
    try self.init(zeros: shape, T.dtype)
    let target = unsafe pointer
    unsafe values.withUnsafeBytes { source in
      if let base = source.baseAddress { unsafe target.copyMemory(from: base, byteCount: source.count) }
    }
  }

  /// This tensor if it is dense, else a dense copy.
  public func dense() throws(TemperError) -> Tensor { isDense ? self : try copy() }

  /// A dense copy with elements converted to `type` (floats to integers by truncation, saturating).
  public func copy(as type: DType? = nil) throws(TemperError) -> Tensor {
    let result = try Tensor(zeros: shape, type ?? dtype)
    try result.assign(from: self)
    return result
  }

  /// Writes every element of `source`, converted to this tensor's type.
  public func assign(from source: Tensor) throws(TemperError) {
    guard source.shape == shape else {
      throw TemperError(.invalidShape, "Shape \(source.shape) cannot be written into shape \(shape).")
    }
    guard !isReadOnly else { throw TemperError(.invalidArgument, "This tensor is read-only and cannot be written.") }
    if source.dtype == dtype && isDense && source.isDense { return copyBytes(of: source) }
    if dtype == .int32, source.dtype == .int64, isDense, source.isDense, narrow(source) { return }
    if isDense, source.isDense, convertFloats(source) { return }
    switch dtype {
    case .float32:
      unsafe convert(source, to: Float.self) {
        Float($0)
      } _: {
        Float($0)
      }
    case .float64:
      unsafe convert(source, to: Double.self) {
        $0
      } _: {
        Double($0)
      }
    case .int32:
      unsafe convert(source, to: Int32.self) {
        Int32(saturating: $0)
      } _: {
        Int32(clamping: $0)
      }
    case .int64:
      unsafe convert(source, to: Int64.self) {
        Int64(saturating: $0)
      } _: {
        $0
      }
    case .uint8:
      unsafe convert(source, to: UInt8.self) {
        UInt8(saturating: $0)
      } _: {
        UInt8(clamping: $0)
      }
    case .int8:
      unsafe convert(source, to: Int8.self) {
        Int8(saturating: $0)
      } _: {
        Int8(clamping: $0)
      }
    case .bool:
      unsafe convert(source, to: UInt8.self) {
        $0 != 0 ? 1 : 0
      } _: {
        $0 != 0 ? 1 : 0
      }
    }
  }

  /// A function of its own, because the last act of a function that throws must not be a copy of memory: optimised, that
  /// becomes a jump which forgets to restore the register that says whether there was an error (Swift 6.3.1, x86-64).
  /// Tests/ABI/tail_copies looks for others.
  @inline(never) private func copyBytes(of source: Tensor) {
    unsafe pointer.copyMemory(from: source.pointer, byteCount: byteCount)
  }

  /// int64 to int32 without branches, which becomes vector code; false, if an element does not fit.
  private func narrow(_ source: Tensor) -> Bool {
    let from = unsafe source.pointer.assumingMemoryBound(to: Int64.self)
    let to = unsafe pointer.assumingMemoryBound(to: Int32.self)
    var outside: UInt64 = 0
    for i in 0..<count {
      let value = unsafe from[i]
      outside |= UInt64(bitPattern: value &+ 0x8000_0000) >> 32
      unsafe to[i] = Int32(truncatingIfNeeded: value)
    }
    return outside == 0
  }

  /// From one floating type to the other, which becomes vector code; false, if these are not both.
  private func convertFloats(_ source: Tensor) -> Bool {
    switch (source.dtype, dtype) {
    case (.float32, .float64):
      let from = unsafe source.pointer.assumingMemoryBound(to: Float.self)
      let to = unsafe pointer.assumingMemoryBound(to: Double.self)
      for i in 0..<count { unsafe to[i] = Double(from[i]) }
    case (.float64, .float32):
      let from = unsafe source.pointer.assumingMemoryBound(to: Double.self)
      let to = unsafe pointer.assumingMemoryBound(to: Float.self)
      for i in 0..<count { unsafe to[i] = Float(from[i]) }
    default: return false
    }
    return true
  }

  @unsafe private func convert<T>(
    _ source: Tensor, to type: T.Type, _ fromReal: (Double) -> T, _ fromInteger: (Int64) -> T
  ) {
    let target = unsafe pointer
    let origin = unsafe source.pointer
    func each<S>(_ kind: S.Type, _ make: (S) -> T) {
      Tensor.forEachOffset(shape, strides, source.strides) { to, from in
        let value = unsafe (origin + from * MemoryLayout<S>.stride).loadUnaligned(as: S.self)
        unsafe (target + to * MemoryLayout<T>.stride).storeBytes(of: make(value), as: T.self)
      }
    }
    switch source.dtype {
    case .float32: each(Float.self) { fromReal(Double($0)) }
    case .float64: each(Double.self) { fromReal($0) }
    case .int32: each(Int32.self) { fromInteger(Int64($0)) }
    case .int64: each(Int64.self) { fromInteger($0) }
    case .uint8: each(UInt8.self) { fromInteger(Int64($0)) }
    case .int8: each(Int8.self) { fromInteger(Int64($0)) }
    case .bool: each(UInt8.self) { fromInteger($0 != 0 ? 1 : 0) }
    }
  }

  /// Calls `body` with the element offsets of two views of one shape, in row-major order.
  static func forEachOffset(_ shape: Shape, _ a: [Int], _ b: [Int], _ body: (Int, Int) -> Void) {
    guard shape.count > 0 else { return }
    let rank = shape.rank
    guard rank > 0 else { return body(0, 0) }
    let (inner, stepA, stepB) = (shape[rank - 1], a[rank - 1], b[rank - 1])
    var index = [Int](repeating: 0, count: rank)
    var (offsetA, offsetB) = (0, 0)
    while true {
      for i in 0..<inner { body(offsetA + i * stepA, offsetB + i * stepB) }
      var axis = rank - 2
      while axis >= 0 {
        index[axis] += 1
        (offsetA, offsetB) = (offsetA + a[axis], offsetB + b[axis])
        if index[axis] < shape[axis] { break }
        (offsetA, offsetB) = (offsetA - a[axis] * shape[axis], offsetB - b[axis] * shape[axis])
        index[axis] = 0
        axis -= 1
      }
      if axis < 0 { return }
    }
  }

  /// The elements in row-major order, converted to `T`'s type.
  public func array<T: Element & ExpressibleByIntegerLiteral>(of type: T.Type) throws(TemperError) -> [T] {
    let source = dtype == T.dtype ? try dense() : try copy(as: T.dtype)
    return unsafe [T](unsafeUninitializedCapacity: count) { buffer, filled in
      if let base = buffer.baseAddress {
        unsafe UnsafeMutableRawPointer(base).copyMemory(from: source.pointer, byteCount: source.byteCount)
      }
      filled = count
    }
  }

  /// The least and the greatest of the numbers among floats; +inf and -inf where there is none.
  package func extremes() throws(TemperError) -> (least: Double, greatest: Double) {
    let source = try dense()
    switch dtype {
    case .float32:
      var (least, greatest) = (Float.infinity, -Float.infinity)
      unsafe temper_extremes_f32(source.pointer.assumingMemoryBound(to: Float.self), Int64(count), &least, &greatest)
      return (Double(least), Double(greatest))
    case .float64:
      var (least, greatest) = (Double.infinity, -Double.infinity)
      unsafe temper_extremes_f64(source.pointer.assumingMemoryBound(to: Double.self), Int64(count), &least, &greatest)
      return (least, greatest)
    default: return try copy(as: .float64).extremes()
    }
  }

  /// The rows of these numbers along the first axis, in the elements' own type.
  package func rows(_ chosen: [Int]) throws(TemperError) -> Tensor {
    let source = try dense()
    guard shape.rank > 0, chosen.allSatisfy({ $0 >= 0 && $0 < shape[0] }) else {
      throw TemperError(.outOfRange, "Rows were asked for that shape \(shape) does not have.")
    }
    var sizes = shape.sizes
    sizes[0] = chosen.count
    let result = try Tensor(zeros: try Shape(validating: sizes), dtype)
    result.copyRows(of: source, chosen.enumerated().map { ($0.element, $0.offset) })
    return result
  }

  /// Writes the first rows of `source`, dense and of this tensor's type, to the rows of these numbers.
  package func put(_ source: Tensor, at rows: [Int]) throws(TemperError) {
    guard isDense, source.isDense, source.dtype == dtype, shape.rank > 0, source.shape.rank == shape.rank,
      source.shape.sizes.dropFirst() == shape.sizes.dropFirst(), rows.count <= source.shape[0],
      rows.allSatisfy({ $0 >= 0 && $0 < shape[0] })
    else { throw TemperError(.internalFault, "Rows of shape \(source.shape) do not fit into shape \(shape).") }
    copyRows(of: source, rows.enumerated().map { ($0.offset, $0.element) })
  }

  /// A function of its own for the reason that copyBytes gives.
  @inline(never) private func copyRows(of source: Tensor, _ pairs: [(from: Int, to: Int)]) {
    let width = shape.sizes.dropFirst().reduce(dtype.byteCount, *)
    for pair in pairs {
      unsafe (pointer + pair.to * width).copyMemory(from: source.pointer + pair.from * width, byteCount: width)
    }
  }

  public func fill(_ value: Double) throws(TemperError) {
    try assign(from: try Tensor([value], shape: []).broadcast(to: shape))
  }
}

extension FixedWidthInteger {
  /// Truncates towards zero; NaN gives 0, what does not fit gives the nearest end.
  init(saturating value: Double) {
    if value.isNaN { self = 0 } else { self = Self(exactly: value.rounded(.towardZero)) ?? (value < 0 ? .min : .max) }
  }
}
