import TemperCore
import TemperGraph

extension Expression {
  /// log det of a square matrix whose pivots are positive: positive definite, or dominated by its diagonal. By elimination,
  /// a step for each row, so for small matrices.
  func logDeterminant() -> Expression {
    guard shape.rank == 2, shape[0] == shape[1] else {
      return .invalid(.invalidShape, "logDeterminant: a square matrix is needed; \(shape) came.")
    }
    var (rest, sum) = (self, Expression.constant(0))
    for size in stride(from: shape[0], through: 1, by: -1) {
      let pivot = rest.slice(0..<1).slice(0..<1, axis: 1)
      sum = sum + log(pivot).sumAll()
      guard size > 1 else { break }
      let (row, column) = (rest.slice(0..<1).slice(1..<size, axis: 1), rest.slice(1..<size).slice(0..<1, axis: 1))
      rest = rest.slice(1..<size).slice(1..<size, axis: 1) - column * row / pivot
    }
    return sum
  }
}
