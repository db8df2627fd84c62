import Glibc

/// Where to cut sizes off so that their distribution changes least: of the bounds 1/100, 2/100, …, 1 of the largest size
/// the one with the least divergence KL(P ‖ Q), P the histogram with everything beyond the bound in its last bin, Q the
/// histogram in as many levels as the grid has, each spread evenly over the bins that it stands for and that are not
/// empty. (Migacz, 2017, 8-bit inference with TensorRT.)
enum EntropyRange {
  private static let parts = 100
  private static let binsOfPart = 20

  static func bound(_ sizes: [Float], levels: Int) -> Float {
    let largest = sizes.max() ?? 0
    guard largest > 0 else { return 0 }
    let count = parts * binsOfPart
    var histogram = [Double](repeating: 0, count: count)
    for size in sizes { histogram[min(Int(Double(size) / Double(largest) * Double(count)), count - 1)] += 1 }
    var (best, least) = (parts, Double.infinity)
    for part in stride(from: parts, to: 0, by: -1) {
      let divergence = divergence(histogram, kept: part * binsOfPart, levels: levels)
      if divergence < least { (best, least) = (part, divergence) }
    }
    return largest * Float(best) / Float(parts)
  }

  private static func divergence(_ histogram: [Double], kept: Int, levels: Int) -> Double {
    let total = histogram.reduce(0, +)
    var p = Array(histogram[0..<kept])
    let inside = p.reduce(0, +)
    guard inside > 0 else { return .infinity }
    p[kept - 1] += total - inside
    var sum = 0.0
    for level in 0..<min(levels, kept) {
      let bins = (level * kept / levels)..<max((level + 1) * kept / levels, level * kept / levels + 1)
      let mass = bins.reduce(0.0) { $0 + histogram[$1] }
      let filled = bins.count { histogram[$0] > 0 }
      for bin in bins where p[bin] > 0 {
        // A bin that Q leaves empty: as if it held a ten-thousandth of a value.
        let q = (histogram[bin] > 0 ? mass / Double(filled) : 1e-4) / inside
        sum += p[bin] / total * log(p[bin] / total / q)
      }
    }
    return sum
  }
}

/// Bounds of least squared error if values were normal or Laplacian around their mean; of the two the distribution under
/// which the values are likelier. (Banner et al., 2019, arXiv 1810.05723.)
///
/// With steps of 2α / 2^b the error is about what is cut off plus α² / (3 · 4^b). Laplace, scale β: 2 β² e^(−α/β) is cut
/// off. Normal, variance σ²: (α² + σ²) erfc(α / (σ √2)) − √(2/π) α σ e^(−α² / 2σ²).
enum AnalyticRange {
  static func bounds(_ values: [Float], levels: Int) -> (lower: Double, upper: Double) {
    let count = Double(max(values.count, 1))
    let mean = values.reduce(0.0) { $0 + Double($1) } / count
    let variance = values.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / count
    let scale = values.reduce(0.0) { $0 + abs(Double($1) - mean) } / count
    guard variance > 0, scale > 0 else { return (mean, mean) }
    // Mean log-likelihoods: −log(2β) − 1, and −log(2π σ²)/2 − 1/2.
    let isLaplacian = -log(2 * scale) - 1 > -log(2 * .pi * variance) / 2 - 0.5
    let half = (isLaplacian ? scale : variance.squareRoot()) * multiple(isLaplacian, levels: Double(levels))
    return (mean - half, mean + half)
  }

  /// α over β or σ: where the error's derivative is zero, between 0 and 40.
  static func multiple(_ isLaplacian: Bool, levels: Double) -> Double {
    func slope(_ a: Double) -> Double {
      let rounding = 2 * a / (3 * levels * levels)
      if isLaplacian { return rounding - 2 * exp(-a) }
      return rounding + 2 * a * erfc(a / 2.0.squareRoot()) - 2 * (2 / Double.pi).squareRoot() * exp(-a * a / 2)
    }
    var (low, high) = (0.0, 40.0)
    for _ in 0..<100 {
      let middle = (low + high) / 2
      if slope(middle) < 0 { low = middle } else { high = middle }
    }
    return low
  }
}
