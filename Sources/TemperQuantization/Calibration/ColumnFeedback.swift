import TemperCore

/// What rounding a column asks of the columns after it. With H = R Rᵀ, R upper triangular, H = Σ x xᵀ + damping · mean of
/// its diagonal, the error of the outputs is Σᵢ (Rᵢᵢ (wᵢ − qᵢ) + Σ_{j<i} Rⱼᵢ (wⱼ − qⱼ))².
struct ColumnFeedback {
  /// Rⱼᵢ / Rᵢᵢ above the diagonal, float32.
  let factors: Tensor
  /// Rᵢᵢ: one over the diagonal of the upper Cholesky factor of H⁻¹.
  let diagonal: [Double]
}

extension InputStatistics {
  /// For columns in the order given.
  func feedback(damping: Double, order: [Int], workers: Workers) throws(TemperError) -> ColumnFeedback {
    let n = order.count
    let mean = try diagonal().reduce(0, +) / Double(max(n, 1))
    // Inputs that are all zero tell nothing: every column counts alike.
    let added = mean > 0 ? damping * mean : 1
    // R is the Cholesky factor of H with rows and columns reversed, reversed again.
    let matrix = try gram.gathered(
      rowsAndColumns: Array(order.reversed()), addingToDiagonal: added, workers: workers)
    guard try Cholesky.factor(matrix, workers: workers) else {
      throw TemperError(
        .outOfRange,
        "The calibration inputs depend on each other too much for a damping of \(damping); increase percdamp.")
    }
    let view = try Tensor(
      storage: matrix.storage, byteOffset: matrix.byteOffset, dtype: .float64, shape: [n], strides: [n + 1])
    return ColumnFeedback(
      factors: try matrix.reversedOverDiagonal(workers: workers), diagonal: try view.array(of: Double.self).reversed())
  }
}

extension ColumnFeedback {
  /// Goes through the columns of each row, left to right. `round` gets the row, the column and the value to be rounded:
  /// the weight with what the earlier errors ask for; it gives the rounded value. Before each block of `blockSize` columns
  /// `look` gets the row, the block, and what the values will be if none of the block's columns is rounded.
  func eachColumn(
    of weight: Weight, blockSize: Int? = nil, workers: Workers,
    look: (_ row: Int, _ block: Range<Int>, _ values: UnsafeBufferPointer<Float>) -> Void = { _, _, _ in },
    round: (_ row: Int, _ column: Int, _ value: Float) -> Float
  ) throws(TemperError) -> [Float] {
    let n = weight.columns
    let result = try weight.values.copy()
    let values = unsafe weight.values.pointer.assumingMemoryBound(to: Float.self)
    let (rounded, factors) = unsafe (
      result.pointer.assumingMemoryBound(to: Float.self), self.factors.pointer.assumingMemoryBound(to: Float.self)
    )
    workers.run(weight.rows) { row, _ in
      let own = unsafe values + row * n
      var targets = unsafe Array(UnsafeBufferPointer(start: own, count: n))
      unsafe targets.withUnsafeMutableBufferPointer { targets in
        for column in 0..<n {
          if let blockSize, column % blockSize == 0 {
            let block = column..<min(column + blockSize, n)
            var ahead = unsafe Array(targets)
            for passed in block {
              let error = unsafe own[passed] - ahead[passed]
              for later in (passed + 1)..<max(block.upperBound, passed + 1) {
                unsafe ahead[later] += error * factors[passed * n + later]
              }
            }
            unsafe ahead.withUnsafeBufferPointer { unsafe look(row, block, $0) }
          }
          let value = unsafe round(row, column, targets[column])
          unsafe rounded[row * n + column] = value
          let error = unsafe own[column] - value
          let factor = unsafe factors + column * n
          for later in (column + 1)..<max(n, column + 1) { unsafe targets[later] += error * factor[later] }
        }
      }
    }
    withExtendedLifetime((self, weight, result)) {}
    return try result.array(of: Float.self)
  }
}
