import TemperCore
import TemperKernels

/// A weight matrix as low-bit codes: scale · (level − zero point) for each element, scales and zero points shared by
/// groups of columns. Products run straight from the codes.
package struct PackedMatrix: WeightForm {
  /// Of the weight: rows (outputs) first; all other axes together are the columns.
  package let shape: Shape
  package let grid: Grid
  /// Columns that share a scale; the last group of a row may be shorter.
  package let groupSize: Int
  /// (rows or 1, groups of a row), float32. One row where all rows share it.
  package let scales: Tensor
  /// Zero points, shaped like the scales, uint8; nil where the grid has none.
  package let zeros: Tensor?
  /// (rows, bytes of a row) in the kernels' layout (quantized.h), uint8.
  package let codes: Tensor

  package var bits: Double { Double(grid.bits) }
  /// As in a file, where scales that are powers of two take a byte.
  package var byteCount: Int {
    let table = grid.codebook.map { $0.isLearned ? 4 * $0.levels.count : 0 } ?? 0
    return codes.byteCount + (hasExponents ? scales.count : scales.byteCount) + (zeros?.byteCount ?? 0) + table
  }
  /// Whether every scale is a power of two, of which files hold the exponent alone.
  package private(set) var hasExponents = false

  /// The same, its scales as exponents.
  func withExponents() throws(TemperError) -> PackedMatrix {
    guard try scales.array(of: Float.self).allSatisfy({ $0.isNormal && $0 > 0 && $0.significandBitPattern == 0 })
    else { throw TemperError(.outOfRange, "Scales are exponents only where all are powers of two.") }
    var copy = self
    copy.hasExponents = true
    return copy
  }

  /// A vector counts as one row.
  static func rows(of shape: Shape) -> Int { shape.rank > 1 ? shape[0] : 1 }
  static func columns(of shape: Shape) -> Int { Shape(Array(shape.sizes.dropFirst(shape.rank > 1 ? 1 : 0))).count }
  static func rowBytes(columns: Int, bits: Int) -> Int { Int(temper_packed_row_bytes(Int64(columns), Int32(bits))) }

  /// Checks that all parts fit each other and that every weight they can make is finite. The codes are not looked at.
  init(
    shape: Shape, grid: Grid, groupSize: Int, scales: Tensor, zeros: Tensor?, codes: Tensor
  ) throws(TemperError) {
    let rows = PackedMatrix.rows(of: shape)
    let columns = PackedMatrix.columns(of: shape)
    guard shape.rank >= 1 else {
      throw TemperError(.invalidShape, "A weight to quantize has at least one dimension; a single number came.")
    }
    guard groupSize >= 1 else {
      throw TemperError(.outOfRange, "A group has at least 1 column; group_size \(groupSize) came.")
    }
    // A larger group is the whole row; the kernels then need no care for overflow.
    self.groupSize = min(groupSize, max(columns, 1))
    let groups = PackedMatrix.groups(columns: columns, groupSize: self.groupSize)
    guard scales.dtype == .float32, scales.shape == [rows, groups] || scales.shape == [1, groups] else {
      throw TemperError(
        .invalidShape,
        "Scales must be float32 of shape \(Shape([rows, groups])) or \(Shape([1, groups])); \(scales.dtype.name) of shape \(scales.shape) came."
      )
    }
    guard (zeros != nil) == grid.hasZeroPoints, zeros.map({ $0.shape == scales.shape && $0.dtype == .uint8 }) ?? true
    else {
      throw TemperError(
        .invalidShape,
        "A grid of \(grid.name) levels has \(grid.hasZeroPoints ? "zero points, uint8 of shape \(scales.shape)" : "no zero points")."
      )
    }
    let rowBytes = PackedMatrix.rowBytes(columns: columns, bits: grid.bits)
    guard codes.dtype == .uint8, codes.shape == [rows, rowBytes] else {
      throw TemperError(
        .invalidShape,
        "Packed codes must be uint8 of shape \(Shape([rows, rowBytes])); \(codes.dtype.name) of shape \(codes.shape) came."
      )
    }
    (self.shape, self.grid) = (shape, grid)
    self.scales = try scales.dense()
    self.zeros = try zeros?.dense()
    self.codes = try codes.dense()
    try checkValues()
  }

  static func groups(columns: Int, groupSize: Int) -> Int { columns / groupSize + (columns % groupSize > 0 ? 1 : 0) }

  private func checkValues() throws(TemperError) {
    let scales = try self.scales.array(of: Float.self)
    let zeros = try self.zeros?.array(of: UInt8.self)
    for (index, scale) in scales.enumerated() {
      let zero = Int(zeros?[index] ?? 0)
      guard zero <= grid.highestCode else {
        throw TemperError(
          .outOfRange, "Zero points of \(grid.bits)-bit codes are 0 to \(grid.highestCode); \(zero) came.")
      }
      let furthest = grid.hasZeroPoints ? Float(max(zero, grid.highestCode - zero)) : grid.largestLevel
      guard (scale * furthest).isFinite else {
        throw TemperError(.notFinite, "Scales must be finite and make finite weights; \(scale) came.")
      }
    }
  }
}
