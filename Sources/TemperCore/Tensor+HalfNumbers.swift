import TemperKernels

extension Tensor {
  /// The 16-bit floating-point numbers that bytes can stand for, little-endian.
  package enum HalfFormat: Sendable { case float16, bfloat16 }

  /// float32 from dense uint8 `bytes`, two for each number of `shape`.
  package init(_ format: HalfFormat, bytes: Tensor, shape: Shape) throws(TemperError) {
    guard bytes.dtype == .uint8, bytes.isDense, bytes.count == 2 * shape.count else {
      throw TemperError(
        .invalidShape, "16-bit numbers of shape \(shape) are \(2 * shape.count) bytes; \(bytes.count) came.")
    }
    try self.init(zeros: shape, .float32)
    unsafe format.decode(bytes.pointer, shape.count, into: pointer.assumingMemoryBound(to: Float.self))
    withExtendedLifetime(bytes) {}
  }
}

extension Tensor.HalfFormat {
  @unsafe package func decode(_ bytes: UnsafeRawPointer, _ count: Int, into target: UnsafeMutablePointer<Float>) {
    switch self {
    case .float16: unsafe temper_float16_to_float32(bytes, Int64(count), target)
    case .bfloat16: unsafe temper_bfloat16_to_float32(bytes, Int64(count), target)
    }
  }
}
