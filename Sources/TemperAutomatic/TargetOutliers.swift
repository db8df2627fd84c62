import Glibc

/// Which numbers are wrong, from the residuals of a model that did not see them: a mixture of a normal around 0 and a
/// uniform over the range of the residuals, by expectation and maximisation.
struct TargetOutliers {
  /// Share of samples of the uniform part.
  let rate: Double
  /// Standard deviation of the normal part.
  let deviation: Double
  /// P(uniform part | residual).
  let posteriors: [Double]

  init(residuals: [Double]) {
    let range = max((residuals.max() ?? 0) - (residuals.min() ?? 0), .leastNormalMagnitude)
    var deviation = max(Robust.deviation(residuals, around: 0), 1e-9 * range)
    var rate = 0.05
    var posteriors = [Double](repeating: 0, count: residuals.count)
    for _ in 0..<100 {
      var (outside, squares) = (0.0, 0.0)
      for (index, residual) in residuals.enumerated() {
        let z = residual / deviation
        let normal = (1 - rate) * exp(-z * z / 2) / (deviation * sqrt(2 * Double.pi))
        let uniform = rate / range
        posteriors[index] = uniform / max(normal + uniform, .leastNormalMagnitude)
        outside += posteriors[index]
        squares += (1 - posteriors[index]) * residual * residual
      }
      let inside = Double(residuals.count) - outside
      guard inside > 1 else { break }
      (rate, deviation) = (
        min(outside / Double(residuals.count), 0.5), max(sqrt(squares / inside), 1e-9 * range)
      )
    }
    (self.rate, self.deviation, self.posteriors) = (rate, deviation, posteriors)
  }
}
