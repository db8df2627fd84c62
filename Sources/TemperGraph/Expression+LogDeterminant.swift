import TemperCore
import TemperKernels

extension Expression {
  /// The inverse of a matrix, computed in double, without a derivative; NaN throughout where there is none.
  package var inverted: Expression {
    let n = shape[0]
    let both = Expression.custom(LogDeterminant.operation, [self], shape: [n * n + 1]).stopGradient
    return both.slice(1..<n * n + 1).reshaped([n, n])
  }

  /// log det of a square matrix, (1, 1); NaN where the determinant is not positive. The slope is the transposed inverse,
  /// which comes from the same elimination; there are no second derivatives.
  ///
  /// weights (n, 1): of a matrix of independent blocks, in whatever order its rows are, the sum of w log det over the
  /// blocks; each row has the weight of its block.
  package func logDeterminant(weights: Expression? = nil) -> Expression {
    guard shape.rank == 2, shape[0] == shape[1], shape[0] > 0 else {
      return error != nil
        ? self : .invalid(.invalidShape, "logDeterminant: a square matrix is needed; \(shape) came.")
    }
    let n = shape[0]
    let both = Expression.custom(
      LogDeterminant.operation, [self] + (weights.map { [$0] } ?? []), shape: [n * n + 1]
    ).stopGradient
    let inverse = both.slice(1..<n * n + 1).reshaped([n, n]).permuted([1, 0])
    return both.slice(0..<1).reshaped([1, 1]).withSlopes([(self, weights.map { $0.stopGradient * inverse } ?? inverse)])
  }
}

private enum LogDeterminant {
  /// log det A, or the weighted sum over its blocks, then A^-1 row after row; NaN throughout where there is none.
  static let operation = CustomOperation(name: "log_determinant") { _, _ throws(TemperError) in
    var rooms: (result: Tensor, pivots: Tensor, weights: Tensor)?
    return { (inputs, outputs) throws(TemperError) in
      guard let output = outputs[0] else { return }
      let n = inputs[0].shape[0]
      if rooms == nil {
        rooms = (
          try Tensor(zeros: [n * n + 1], .float64), try Tensor(zeros: [n], .int32), try Tensor(zeros: [n, 1], .float64)
        )
      }
      guard let (result, pivots, weights) = rooms else { return }
      try result.slice(1..<n * n + 1).reshaped([n, n]).assign(from: inputs[0])
      if inputs.count > 1 { try weights.assign(from: inputs[1]) }
      Multiplications.add(n * n * n)
      let hasInverse = unsafe temper_inverse(
        result.doubles + 1, Int64(n), inputs.count > 1 ? weights.doubles : nil,
        pivots.pointer.assumingMemoryBound(to: Int32.self), result.doubles)
      if !hasInverse { try result.fill(.nan) }
      try output.assign(from: result)
    }
  }
}

extension Tensor {
  @unsafe fileprivate var doubles: UnsafeMutablePointer<Double> {
    unsafe pointer.assumingMemoryBound(to: Double.self)
  }
}
