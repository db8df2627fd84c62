import TemperCore
import TemperKernels

/// A weight to quantize, checked: dense, float32, finite. Its first axis is the rows (outputs), the others together the
/// columns (inputs); a vector is one row.
package struct Weight: Sendable {
  package let shape: Shape
  /// (rows, columns)
  package let values: Tensor

  package var rows: Int { values.shape[0] }
  package var columns: Int { values.shape[1] }

  package init(_ tensor: Tensor) throws(TemperError) {
    guard tensor.dtype.isFloating else {
      throw TemperError(.invalidType, "Weights to quantize are float32 or float64; \(tensor.dtype.name) came.")
    }
    guard tensor.shape.rank >= 1 else {
      throw TemperError(.invalidShape, "A weight to quantize has at least one dimension; a single number came.")
    }
    shape = tensor.shape
    let single = tensor.dtype == .float32 ? try tensor.dense() : try tensor.copy(as: .float32)
    values = try single.reshaped([PackedMatrix.rows(of: shape), PackedMatrix.columns(of: shape)])
  }

  /// Weights of this size are as far from zero as float32 can carry through every grid.
  static let largest: Float = 0x1p127

  /// Smallest and largest value of each group of columns, (rows, groups). A value that is not finite, or beyond
  /// `largest`, is an error that says where it is.
  func ranges(groupSize: Int, workers: Workers) throws(TemperError) -> (minima: [Float], maxima: [Float]) {
    let groups = PackedMatrix.groups(columns: columns, groupSize: groupSize)
    var minima = [Float](repeating: 0, count: rows * groups)
    var maxima = minima
    var isFinite = [Bool](repeating: true, count: rows)
    unsafe minima.withUnsafeMutableBufferPointer { minima in
      unsafe maxima.withUnsafeMutableBufferPointer { maxima in
        unsafe isFinite.withUnsafeMutableBufferPointer { isFinite in
          workers.runRows(rows, columns) { begin, end in
            for row in begin..<end {
              unsafe isFinite[row] = unsafe temper_group_ranges(
                values.pointer.assumingMemoryBound(to: Float.self), Int64(columns), Int64(groupSize), Int64(row),
                Int64(row + 1), minima.baseAddress, maxima.baseAddress)
            }
          }
        }
      }
    }
    let extremes = zip(minima, maxima)
    let beyond = extremes.enumerated().first { max(-$0.element.0, $0.element.1) > Weight.largest }
    if let row = isFinite.firstIndex(of: false) ?? beyond.map({ $0.offset / groups }) {
      let values = try self.values.slice(row..<(row + 1)).array(of: Float.self)
      let column = values.firstIndex { !(abs($0) <= Weight.largest) } ?? 0
      throw TemperError(
        .notFinite,
        "Weights must be finite and at most 2^127 in size; row \(row), column \(column) is \(values[column]) as float32."
      )
    }
    return (minima, maxima)
  }
}
