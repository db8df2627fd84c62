import TemperCore

/// What calibration inputs x of a layer leave for the methods that look at them: sums over samples, so that the inputs
/// themselves need not fit in memory.
package final class InputStatistics {
  package let columns: Int
  package private(set) var samples = 0
  /// Σ x xᵀ, (columns, columns), float64: what is above the diagonal and its blocks; the rest when it is asked for.
  private let upper: Tensor
  private var isSymmetric = true
  private static let blockColumns = 512
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
    upper = try Tensor(zeros: [columns, columns], .float64)
    sums = [Double](repeating: 0, count: columns)
    (absoluteSums, largest) = (sums, sums)
  }

  /// Of Σ x xᵀ alone: for methods that look at nothing else.
  init(gram: Tensor, samples: Int) throws(TemperError) {
    (columns, upper, self.samples) = (gram.shape[0], gram, samples)
    sums = [Double](repeating: 0, count: columns)
    (absoluteSums, largest) = (sums, sums)
  }

  /// Σ x xᵀ, (columns, columns), float64.
  var gram: Tensor {
    if !isSymmetric { upper.mirrorUpperTriangle() }
    isSymmetric = true
    return upper
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
      try addProducts(of: part, workers: workers)
      observe(try part.array(of: Double.self))
    }
    guard try diagonal().allSatisfy(\.isFinite) else {
      throw TemperError(.notFinite, "Calibration inputs must be finite, and their squares must be too.")
    }
  }

  /// Blocks of columns of the products, down to the diagonal: upper += partᵀ part.
  private func addProducts(of part: Tensor, workers: Workers) throws(TemperError) {
    isSymmetric = false
    for block in blocks {
      try MatrixProduct.run(
        try part.slice(0..<block.upperBound, axis: 1).permuted([1, 0]), try part.slice(block, axis: 1),
        into: try upper.slice(0..<block.upperBound).slice(block, axis: 1), accumulate: true, workers: workers)
    }
  }

  private var blocks: [Range<Int>] {
    stride(from: 0, to: columns, by: InputStatistics.blockColumns).map {
      $0..<min($0 + InputStatistics.blockColumns, columns)
    }
  }

  /// Σ over inputs and rows of (row · x)², for float64 `rows` (n, columns): their products with half of the symmetric
  /// matrix, twice, and with its diagonal blocks.
  func energy(of rows: Tensor, workers: Workers) throws(TemperError) -> Double {
    var total = 0.0
    for block in blocks {
      let own = try rows.slice(block, axis: 1)
      let product = try Tensor(zeros: own.shape, .float64)
      let above = 0..<block.lowerBound
      if !above.isEmpty {
        try MatrixProduct.run(
          try rows.slice(above, axis: 1), try upper.slice(above).slice(block, axis: 1), into: product, scale: 2,
          workers: workers)
      }
      try MatrixProduct.run(
        own, try upper.slice(block).slice(block, axis: 1), into: product, accumulate: true, workers: workers)
      total += own.sumOfProducts(with: product)
    }
    return max(total, 0)
  }

  private func observe(_ values: [Double]) {
    guard columns > 0 else { return }
    var (sums, absoluteSums, largest) = (sums, absoluteSums, largest)
    for start in stride(from: 0, to: values.count, by: columns) {
      samples += 1
      for column in 0..<columns {
        let value = values[start + column]
        sums[column] += value
        absoluteSums[column] += abs(value)
        largest[column] = max(largest[column], abs(value))
      }
      // Where this sample goes among those kept, if it does.
      let sample = values[start..<start + columns]
      if samples <= InputStatistics.keptLimit {
        kept += sample.lazy.map { Float($0) }
      } else {
        let place = random.below(samples)
        guard place < InputStatistics.keptLimit else { continue }
        kept.replaceSubrange(place * columns..<(place + 1) * columns, with: sample.lazy.map { Float($0) })
      }
    }
    (self.sums, self.absoluteSums, self.largest) = (sums, absoluteSums, largest)
  }

  /// Mean x, by column.
  var means: [Double] { sums.map { $0 / Double(max(samples, 1)) } }

  /// Σ x², by column.
  func diagonal() throws(TemperError) -> [Double] {
    let view = try Tensor(
      storage: upper.storage, byteOffset: upper.byteOffset, dtype: .float64, shape: [columns], strides: [columns + 1])
    return try view.array(of: Double.self)
  }
}
