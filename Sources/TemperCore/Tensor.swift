/// A strided view of shared memory. Copying a tensor copies the view, not the elements.
public struct Tensor: Sendable {
  public let storage: Storage
  public let byteOffset: Int
  public let dtype: DType
  public let shape: Shape
  /// In elements; 0 repeats, negative runs backwards.
  public let strides: [Int]

  /// A view whose every element lies inside `storage`; anything else is an error.
  public init(storage: Storage, byteOffset: Int, dtype: DType, shape: Shape, strides: [Int]) throws(TemperError) {
    guard strides.count == shape.rank else {
      throw TemperError(.invalidShape, "Shape \(shape) needs \(shape.rank) strides; \(strides.count) came.")
    }
    if shape.count > 0 {
      var (low, high) = (byteOffset, byteOffset + dtype.byteCount)
      for (size, stride) in zip(shape.sizes, strides) {
        let (reach, overflow) = ((size - 1) * dtype.byteCount).multipliedReportingOverflow(by: stride)
        guard !overflow, abs(reach) <= Shape.maximumCount * 8 else {
          throw TemperError(.invalidShape, "Strides \(strides) reach beyond any memory for shape \(shape).")
        }
        if reach < 0 { low += reach } else { high += reach }
      }
      guard low >= 0, high <= storage.byteCount else {
        throw TemperError(
          .invalidShape,
          "Shape \(shape) with strides \(strides) needs bytes \(low) to \(high); the buffer has \(storage.byteCount).")
      }
    }
    self.init(unchecked: storage, byteOffset: byteOffset, dtype: dtype, shape: shape, strides: strides)
  }

  /// For views that are inside their storage by construction.
  init(unchecked storage: Storage, byteOffset: Int, dtype: DType, shape: Shape, strides: [Int]) {
    (self.storage, self.byteOffset, self.dtype) = (storage, byteOffset, dtype)
    (self.shape, self.strides) = (shape, strides)
  }

  /// Dense and zero.
  public init(zeros shape: Shape, _ dtype: DType = .float32) throws(TemperError) {
    let shape = try Shape(validating: shape.sizes)
    self.init(
      unchecked: try Storage(byteCount: shape.count * dtype.byteCount), byteOffset: 0, dtype: dtype, shape: shape,
      strides: shape.denseStrides)
  }

  public var count: Int { shape.count }
  public var byteCount: Int { count * dtype.byteCount }
  public var isReadOnly: Bool { storage.isReadOnly }

  /// Whether the elements lie one after the other in row-major order.
  public var isDense: Bool {
    var step = 1
    for axis in stride(from: shape.rank - 1, through: 0, by: -1) where shape[axis] != 1 {
      if strides[axis] != step { return count == 0 }
      step *= shape[axis]
    }
    return true
  }
}
