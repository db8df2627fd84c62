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
}
