import Glibc
import TemperCore

/// Numbers in rows: samples by features.
package struct Matrix: Sendable, Hashable {
  package let rows: Int
  package let columns: Int
  /// Row after row.
  package var values: [Double]

  package init(_ values: [Double], rows: Int, columns: Int) {
    precondition(values.count == rows * columns)
    (self.values, self.rows, self.columns) = (values, rows, columns)
  }

  package init(zeros rows: Int, _ columns: Int) {
    self.init([Double](repeating: 0, count: rows * columns), rows: rows, columns: columns)
  }

  /// A tensor (N, …) as N rows.
  package init(_ tensor: Tensor) throws(TemperError) {
    let rows = tensor.shape.rank == 0 ? 1 : tensor.shape[0]
    self.init(
      try tensor.array(of: Double.self), rows: rows, columns: rows == 0 ? 0 : tensor.count / Swift.max(rows, 1))
  }

  package subscript(_ row: Int, _ column: Int) -> Double {
    get { values[row * columns + column] }
    set { values[row * columns + column] = newValue }
  }

  package subscript(_ row: Int) -> ArraySlice<Double> { values[(row * columns)..<((row + 1) * columns)] }

  /// softmax(row / temperature) of each row.
  package func softmax(temperature: Double = 1) -> Matrix {
    var result = self
    for row in 0..<rows {
      let top = self[row].max() ?? 0
      let places = row * columns..<(row + 1) * columns
      var sum = 0.0
      for place in places {
        result.values[place] = exp((values[place] - top) / temperature)
        sum += result.values[place]
      }
      for place in places { result.values[place] /= sum }
    }
    return result
  }

  /// The rows of these numbers, in their order.
  package func rows(_ chosen: [Int]) -> Matrix {
    var result: [Double] = []
    result.reserveCapacity(chosen.count * columns)
    for row in chosen { result += self[row] }
    return Matrix(result, rows: chosen.count, columns: columns)
  }

  /// Each column less its mean and divided by its deviation; constant columns become 0.
  package var standardized: Matrix {
    let means = means
    let factors = deviations(from: means).map { $0 > 0 ? 1 / $0 : 0 }
    var result = self
    for row in 0..<rows {
      for column in 0..<columns {
        let at = row * columns + column
        result.values[at] = (values[at] - means[column]) * factors[column]
      }
    }
    return result
  }

  package func tensor() throws(TemperError) -> Tensor { try Tensor(values, shape: [rows, columns]) }
}
