import TemperCore
import TemperKernels

/// Vector codes as the kernels see them (vector_codes.h).
extension VectorCodes {
  /// Rows of x that are looked up; more are multiplied with decoded weights.
  private static let mostLookUps = 4

  @unsafe private func withKernelMatrix<Result>(_ body: (UnsafePointer<temper_vector_codes>) -> Result) -> Result {
    var matrix = unsafe temper_vector_codes(
      rows: Int64(rows), columns: Int64(columns), length: Int64(length), table_count: Int64(tableCount),
      bits: Int32(tableSize.trailingZeroBitCount), tables: tables.pointer.assumingMemoryBound(to: Float.self),
      scales: scales.pointer.assumingMemoryBound(to: Float.self),
      codes: codes.codes.pointer.assumingMemoryBound(to: UInt8.self))
    return withExtendedLifetime(self) { unsafe withUnsafePointer(to: &matrix) { unsafe body($0) } }
  }

  @unsafe package func decode(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    guard tables.shape[0] == tableCount else { return unsafe decodePlaces(rows, into: target) }
    unsafe withKernelMatrix { matrix in
      unsafe temper_vector_codes_decode(matrix, Int64(rows.lowerBound), Int64(rows.upperBound), target)
    }
  }

  package func multiply(_ x: Tensor, into y: Tensor, workers: Workers) throws(TemperError) {
    guard x.dtype == .float32, x.shape[0] <= VectorCodes.mostLookUps, columns > 0, tables.shape[0] == tableCount else {
      return try multiplyDecoded(x, into: y, workers: workers)
    }
    let width = codes.columns
    let lookUp = try Storage(byteCount: 4 * width * tableSize, isCleared: false)
    let entries = unsafe lookUp.base.assumingMemoryBound(to: Float.self)
    unsafe withKernelMatrix { matrix in
      for row in 0..<x.shape[0] {
        let input = unsafe x.pointer.assumingMemoryBound(to: Float.self) + row * columns
        let output = unsafe y.pointer.assumingMemoryBound(to: Float.self) + row * rows
        workers.runRows(width, tableSize * length) { begin, end in
          unsafe temper_vector_codes_dots(matrix, input, Int64(begin), Int64(end), entries)
        }
        workers.runRows(rows, width) { begin, end in
          unsafe temper_vector_codes_look_up(matrix, entries, Int64(begin), Int64(end), output)
        }
      }
    }
    withExtendedLifetime((x, y, lookUp)) {}
  }

  /// Where each place of a row has tables of its own.
  @unsafe private func decodePlaces(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    let values = unsafe tables.pointer.assumingMemoryBound(to: Float.self)
    let factors = unsafe scales.pointer.assumingMemoryBound(to: Float.self)
    var chosen = [Float](repeating: 0, count: codes.columns)
    for row in rows {
      unsafe chosen.withUnsafeMutableBufferPointer { chosen in
        if let start = chosen.baseAddress { unsafe codes.decode(row..<(row + 1), into: start) }
      }
      let start = unsafe target + (row - rows.lowerBound) * columns
      for column in 0..<columns {
        let first = column / length * tableCount
        var sum: Float = 0
        for table in first..<(first + tableCount) {
          unsafe sum += values[(table * tableSize + Int(chosen[table])) * length + column % length]
        }
        unsafe start[column] = factors[row] * sum
      }
    }
    withExtendedLifetime(self) {}
  }
}
