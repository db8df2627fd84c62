import TemperCore
import TemperNetworks

/// Weights of which many are zero: a bit for each that says whether it is, and the others as float32, row by row.
package struct SparseRows: WeightForm {
  static let formName = "sparse"

  package let shape: Shape
  /// uint8 (rows, ⌈columns / 8⌉), lowest bit first; 1 where there is a number.
  package let mask: Tensor
  /// float32
  package let values: Tensor
  /// Where each row's values start, and where the last one's end.
  private let starts: [Int]

  package var bits: Double { shape.count == 0 ? 0 : 1 + 32 * Double(values.count) / Double(shape.count) }
  package var byteCount: Int { mask.byteCount + values.byteCount }
  /// Share of weights that are zero.
  package var sparsity: Double { shape.count == 0 ? 0 : 1 - Double(values.count) / Double(shape.count) }

  init(shape: Shape, mask: Tensor, values: Tensor) throws(TemperError) {
    let (rows, columns) = (PackedMatrix.rows(of: shape), PackedMatrix.columns(of: shape))
    let width = (columns + 7) / 8
    guard mask.dtype == .uint8, mask.shape == [rows, width], values.dtype == .float32, values.shape.rank == 1 else {
      throw TemperError(
        .invalidShape,
        "A sparse weight has a mask, uint8 of shape \(Shape([rows, width])), and a row of float32 values.")
    }
    let bytes = try mask.array(of: UInt8.self)
    var starts = [0]
    for row in 0..<rows {
      let part = bytes[(row * width)..<(row * width + width)]
      guard columns % 8 == 0 || part.isEmpty || part[part.endIndex - 1] >> (columns % 8) == 0 else {
        throw TemperError(.malformedFile, "The mask of a sparse weight has bits beyond its columns.")
      }
      starts.append(starts[row] + part.reduce(0) { $0 + $1.nonzeroBitCount })
    }
    guard starts[rows] == values.count else {
      throw TemperError(
        .invalidShape, "The mask of a sparse weight names \(starts[rows]) values; \(values.count) came.")
    }
    guard try values.array(of: Float.self).allSatisfy(\.isFinite) else {
      throw TemperError(.notFinite, "The values of a sparse weight must be finite.")
    }
    (self.shape, self.mask, self.values, self.starts) = (shape, try mask.dense(), try values.dense(), starts)
  }

  /// The values that are not zero of `dense`, row-major.
  init(shape: Shape, dense: [Float]) throws(TemperError) {
    let (rows, columns) = (PackedMatrix.rows(of: shape), PackedMatrix.columns(of: shape))
    let width = (columns + 7) / 8
    var mask = [UInt8](repeating: 0, count: rows * width)
    var values: [Float] = []
    for row in 0..<rows {
      for column in 0..<columns where dense[row * columns + column] != 0 {
        mask[row * width + column / 8] |= 1 << (column % 8)
        values.append(dense[row * columns + column])
      }
    }
    try self.init(shape: shape, mask: try Tensor(mask, shape: [rows, width]), values: try Tensor(values))
  }

  @unsafe package func decode(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    let width = mask.shape[1]
    let bits = unsafe mask.pointer.assumingMemoryBound(to: UInt8.self)
    let numbers = unsafe values.pointer.assumingMemoryBound(to: Float.self)
    for row in rows {
      var next = starts[row]
      let start = unsafe target + (row - rows.lowerBound) * columns
      for column in 0..<columns {
        let isThere = unsafe bits[row * width + column / 8] >> (column % 8) & 1 == 1
        unsafe start[column] = isThere ? unsafe numbers[next] : 0
        if isThere { next += 1 }
      }
    }
    withExtendedLifetime(self) {}
  }

  package var storedDescription: [JSON.Member] {
    [
      JSON.Member("form", .text(Self.formName)),
      JSON.Member("shape", .array(shape.sizes.map { .integer($0) })),
    ]
  }

  package func storedTensors(workers: Workers) throws(TemperError) -> [(suffix: String, tensor: Tensor)] {
    [(".mask", mask), (".values", values)]
  }

  init(stored: StoredWeight) throws(TemperError) {
    try self.init(
      shape: try stored.shape, mask: try stored.tensor(".mask").copy(), values: try stored.tensor(".values").copy())
  }
}
