import TemperCore

/// What calibration inputs x of a layer leave for the methods that look at them: sums over samples, so that the inputs
/// themselves need not fit in memory.
package final class InputStatistics {
  package let columns: Int
  package private(set) var samples = 0
  /// Σ x xᵀ, (columns, columns), float64.
  let gram: Tensor
  private static let chunk = 1024

  package init(columns: Int) throws(TemperError) {
    self.columns = columns
    gram = try Tensor(zeros: [columns, columns], .float64)
  }

  /// Adds inputs (…, columns), float32 or float64. Values must be finite.
  package func add(_ x: Tensor, workers: Workers) throws(TemperError) {
    guard x.dtype.isFloating else {
      throw TemperError(.invalidType, "Calibration inputs are float32 or float64; \(x.dtype.name) came.")
    }
    guard x.shape.rank >= 1, x.shape.last == columns else {
      throw TemperError(.invalidShape, "Calibration inputs are (samples, \(columns)); \(x.shape) came.")
    }
    let count = Shape(Array(x.shape.sizes.dropLast())).count
    let rows = try x.reshaped([count, columns])
    for start in stride(from: 0, to: count, by: InputStatistics.chunk) {
      let part = try rows.slice(start..<min(start + InputStatistics.chunk, count)).copy(as: .float64)
      // gram += partᵀ part
      try MatrixProduct.run(
        try part.permuted([1, 0]), part, into: gram, accumulate: true, workers: workers)
    }
    samples += count
    guard try diagonal().allSatisfy(\.isFinite) else {
      throw TemperError(.notFinite, "Calibration inputs must be finite, and their squares must be too.")
    }
  }

  /// Σ x², by column.
  func diagonal() throws(TemperError) -> [Double] {
    let view = try Tensor(
      storage: gram.storage, byteOffset: gram.byteOffset, dtype: .float64, shape: [columns], strides: [columns + 1])
    return try view.array(of: Double.self)
  }
}
