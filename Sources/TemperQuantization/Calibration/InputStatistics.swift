import TemperCore

/// What calibration inputs x of a layer leave for the methods that look at them: sums over samples, so that the inputs
/// themselves need not fit in memory.
package final class InputStatistics {
  package let columns: Int
  package private(set) var samples = 0
  /// Σ x xᵀ, (columns, columns), float64.
  let gram: Tensor
  /// By column: Σ x, Σ |x| and max |x|.
  private(set) var sums: [Double]
  private(set) var absoluteSums: [Double]
  private(set) var largest: [Double]
  /// Up to `keptLimit` of the samples, each as likely as any other (Vitter's algorithm R), (kept, columns) float32.
  private(set) var kept: [Float] = []
  package static let keptLimit = 1024
  /// Squared gradients of the model's loss with respect to each weight, row-major, where a model's loss is known.
  var saliency: [Float]?
  private var random = Random(seed: 0, stream: "calibration")
  private static let chunk = 1024

  package init(columns: Int) throws(TemperError) {
    self.columns = columns
    gram = try Tensor(zeros: [columns, columns], .float64)
    sums = [Double](repeating: 0, count: columns)
    (absoluteSums, largest) = (sums, sums)
  }

  /// Of Σ x xᵀ alone: for methods that look at nothing else.
  init(gram: Tensor, samples: Int) throws(TemperError) {
    (columns, self.gram, self.samples) = (gram.shape[0], gram, samples)
    sums = [Double](repeating: 0, count: columns)
    (absoluteSums, largest) = (sums, sums)
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
      try observe(try part.array(of: Double.self))
    }
    guard try diagonal().allSatisfy(\.isFinite) else {
      throw TemperError(.notFinite, "Calibration inputs must be finite, and their squares must be too.")
    }
  }

  private func observe(_ values: [Double]) throws(TemperError) {
    guard columns > 0 else { return }
    for start in stride(from: 0, to: values.count, by: columns) {
      samples += 1
      // Where this sample goes among those kept, if it does.
      let isFirst = samples <= InputStatistics.keptLimit
      let place = isFirst ? samples - 1 : random.below(samples)
      let stays = place < InputStatistics.keptLimit
      for column in 0..<columns {
        let value = values[start + column]
        sums[column] += value
        absoluteSums[column] += abs(value)
        largest[column] = max(largest[column], abs(value))
        if isFirst { kept.append(Float(value)) } else if stays { kept[place * columns + column] = Float(value) }
      }
    }
  }

  /// Mean x, by column.
  var means: [Double] { sums.map { $0 / Double(max(samples, 1)) } }

  /// Σ x², by column.
  func diagonal() throws(TemperError) -> [Double] {
    let view = try Tensor(
      storage: gram.storage, byteOffset: gram.byteOffset, dtype: .float64, shape: [columns], strides: [columns + 1])
    return try view.array(of: Double.self)
  }
}
