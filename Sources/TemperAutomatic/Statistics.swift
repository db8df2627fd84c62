import Glibc
import TemperCore

/// Middle and spread of numbers that few wrong ones cannot move.
enum Robust {
  static func median(_ values: [Double]) -> Double {
    guard !values.isEmpty else { return 0 }
    let sorted = ascending(values)
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }

  /// 1.4826 median |v - median|: the standard deviation where the numbers are normal.
  static func deviation(_ values: [Double], around centre: Double) -> Double {
    1.4826 * median(values.map { abs($0 - centre) })
  }

  /// Mean and standard deviation of what lies within ten robust deviations of the median; a scale of 1 where nothing
  /// varies.
  static func meanAndScale(_ values: [Double]) -> (mean: Double, scale: Double) {
    meanAndScale([moments(values)])
  }

  /// The same of a mixture of parts that count alike, however many numbers each has.
  static func meanAndScale(_ parts: [(mean: Double, variance: Double)]) -> (mean: Double, scale: Double) {
    let mean = parts.reduce(0) { $0 + $1.mean } / Double(parts.count)
    let variance = parts.reduce(0) { $0 + $1.variance + ($1.mean - mean) * ($1.mean - mean) } / Double(parts.count)
    let scale = sqrt(variance)
    return (mean, scale > 1e-12 * max(1, abs(mean)) ? scale : 1)
  }

  /// Mean and variance of what lies within ten robust deviations of the median.
  static func moments(_ values: [Double]) -> (mean: Double, variance: Double) {
    let centre = median(values)
    let reach = 10 * deviation(values, around: centre)
    // Where more than half the numbers are one number, such as zeros of a picture, there is no robust spread.
    let kept = reach > 0 ? values.filter { abs($0 - centre) <= reach } : values
    let mean = kept.reduce(0, +) / Double(kept.count)
    return (mean, kept.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(kept.count))
  }
}

/// The place of the smallest value of a function with one valley in [low, high].
func goldenSection(_ low: Double, _ high: Double, steps: Int = 60, _ function: (Double) -> Double) -> Double {
  let ratio = (sqrt(5) - 1) / 2
  var (low, high) = (low, high)
  var (a, b) = (high - ratio * (high - low), low + ratio * (high - low))
  var (atA, atB) = (function(a), function(b))
  for _ in 0..<steps {
    if atA <= atB {
      (high, b, atB) = (b, a, atA)
      a = high - ratio * (high - low)
      atA = function(a)
    } else {
      (low, a, atA) = (a, b, atB)
      b = low + ratio * (high - low)
      atB = function(b)
    }
  }
  return (low + high) / 2
}
