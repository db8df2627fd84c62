import Glibc

// Glibc's functions, under names that expressions do not have.
func power(_ x: Double, _ y: Double) -> Double { pow(x, y) }
func logarithm(_ x: Double) -> Double { log(x) }

extension [Double] {
  /// From 0 for the smallest to 1 for the largest.
  var scaledToUnit: [Double] {
    guard let low = self.min(), let high = self.max(), high > low else { return map { _ in 0 } }
    return map { ($0 - low) / (high - low) }
  }

  /// softmax of each row
  func softmax(columns: Int) -> [Double] {
    var result = self
    for start in stride(from: 0, to: count, by: columns) {
      let row = self[start..<start + columns]
      let top = row.max() ?? 0
      let sum = row.reduce(0) { $0 + exp($1 - top) }
      for index in row.indices { result[index] = exp(self[index] - top) / sum }
    }
    return result
  }
}
