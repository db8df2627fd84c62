import TemperCore
import TemperNetworks

/// Columns of 0 to 8 bits side by side. A row has 2^b levels from its own minimum to its maximum, for the columns of b
/// bits; columns of 0 bits hold the row's mean.
package struct MixedColumns: WeightForm {
  static let formName = "columns"

  package let shape: Shape
  /// Of each column, uint8.
  package let widths: Tensor
  /// Each row's (minimum, maximum, mean), float32 (rows, 3).
  package let ranges: Tensor
  /// The columns of each width, with their codes.
  private let parts: [Part]

  private struct Part: Sendable {
    let columns: [Int]
    /// nil for columns of 0 bits.
    let codes: PackedMatrix?
  }

  package var bits: Double {
    columns == 0 ? 0 : Double(parts.reduce(0) { $0 + $1.columns.count * ($1.codes?.grid.bits ?? 0) }) / Double(columns)
  }
  package var byteCount: Int {
    widths.byteCount + ranges.byteCount + parts.reduce(0) { $0 + ($1.codes?.codes.byteCount ?? 0) }
  }

  /// The step of b bits between a minimum and a maximum.
  static func step(_ minimum: Float, _ maximum: Float, bits: Int) -> Float {
    let step = Float((Double(maximum) - Double(minimum)) / Double((1 << bits) - 1))
    return step > 0 ? max(step, .leastNormalMagnitude) : 1
  }

  /// `looseCodes` (rows, columns), uint8, each below 2^width of its column.
  init(shape: Shape, widths: Tensor, ranges: Tensor, looseCodes: Tensor, workers: Workers) throws(TemperError) {
    let (rows, columns) = (PackedMatrix.rows(of: shape), PackedMatrix.columns(of: shape))
    guard widths.dtype == .uint8, widths.shape == [columns], ranges.dtype == .float32, ranges.shape == [rows, 3],
      looseCodes.dtype == .uint8, looseCodes.shape == [rows, columns]
    else {
      throw TemperError(
        .invalidShape,
        "Columns of mixed bits have widths, uint8 \(Shape([columns])), ranges, float32 \(Shape([rows, 3])), and codes.")
    }
    let each = try widths.array(of: UInt8.self).map(Int.init)
    let bounds = try ranges.array(of: Float.self)
    guard each.allSatisfy({ $0 <= 8 }), bounds.allSatisfy({ abs($0) <= Weight.largest }) else {
      throw TemperError(.outOfRange, "Columns have 0 to 8 bits, and ranges are finite and at most 2^127 in size.")
    }
    let codes = try looseCodes.array(of: UInt8.self)
    var parts: [Part] = []
    for width in Set(each).sorted() {
      let chosen = each.indices.filter { each[$0] == width }
      guard width > 0 else {
        parts.append(Part(columns: chosen, codes: nil))
        continue
      }
      let scales = (0..<rows).map { MixedColumns.step(bounds[3 * $0], bounds[3 * $0 + 1], bits: width) }
      let loose = (0..<rows).flatMap { row in chosen.map { codes[row * columns + $0] } }
      parts.append(
        Part(
          columns: chosen,
          codes: try PackedMatrix(
            shape: [rows, chosen.count], grid: try Grid(.unsigned, bits: width), groupSize: chosen.count,
            scales: try Tensor(scales, shape: [rows, 1]), zeros: nil,
            looseCodes: try Tensor(loose, shape: [rows, chosen.count]), workers: workers)))
    }
    (self.shape, self.widths, self.ranges, self.parts) = (shape, try widths.dense(), try ranges.dense(), parts)
  }

  @unsafe package func decode(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    let bounds = unsafe ranges.pointer.assumingMemoryBound(to: Float.self)
    var levels = [Float](repeating: 0, count: columns)
    for row in rows {
      let start = unsafe target + (row - rows.lowerBound) * columns
      for part in parts {
        guard let codes = part.codes else {
          for column in part.columns { unsafe start[column] = bounds[3 * row + 2] }
          continue
        }
        unsafe levels.withUnsafeMutableBufferPointer { levels in
          if let first = levels.baseAddress { unsafe codes.decode(row..<(row + 1), into: first) }
        }
        for (place, column) in part.columns.enumerated() { unsafe start[column] = bounds[3 * row] + levels[place] }
      }
    }
    withExtendedLifetime(ranges) {}
  }

  package var storedDescription: [JSON.Member] {
    [
      JSON.Member("form", .text(Self.formName)),
      JSON.Member("shape", .array(shape.sizes.map { .integer($0) })),
    ]
  }

  /// The codes of each width after those of the width below, each in the layout of files.
  package func storedTensors(workers: Workers) throws(TemperError) -> [(suffix: String, tensor: Tensor)] {
    var bytes: [UInt8] = []
    for part in parts {
      if let codes = part.codes { bytes += try codes.storedCodes(workers: workers).array(of: UInt8.self) }
    }
    return [(".codes", try Tensor(bytes)), (".widths", widths), (".minima", ranges)]
  }

  init(stored: StoredWeight, workers: Workers) throws(TemperError) {
    let shape = try stored.shape
    let (rows, columns) = (PackedMatrix.rows(of: shape), PackedMatrix.columns(of: shape))
    let widths = try stored.tensor(".widths").copy()
    let bytes = try stored.tensor(".codes").copy()
    guard widths.dtype == .uint8, widths.shape == [columns], bytes.dtype == .uint8, bytes.shape.rank == 1 else {
      throw TemperError(.malformedFile, "Its widths or codes have another type or shape.")
    }
    let each = try widths.array(of: UInt8.self).map(Int.init)
    var loose = [UInt8](repeating: 0, count: rows * columns)
    var start = 0
    for width in Set(each).sorted() where width > 0 && width <= 8 {
      let chosen = each.indices.filter { each[$0] == width }
      let rowBytes = (chosen.count * width + 7) / 8
      guard start + rows * rowBytes <= bytes.count else { throw TemperError(.malformedFile, "Its codes are too few.") }
      let part = try bytes.slice(start..<(start + rows * rowBytes)).reshaped([rows, rowBytes])
      let codes = try PackedMatrix.restoredCodes(part, shape: [rows, chosen.count], bits: width, workers: workers)
        .array(of: UInt8.self)
      for row in 0..<rows {
        for (place, column) in chosen.enumerated() { loose[row * columns + column] = codes[row * chosen.count + place] }
      }
      start += rows * rowBytes
    }
    guard start == bytes.count else { throw TemperError(.malformedFile, "Its codes are too many.") }
    try self.init(
      shape: shape, widths: widths, ranges: try stored.tensor(".minima").copy(),
      looseCodes: try Tensor(loose, shape: [rows, columns]), workers: workers)
  }
}
