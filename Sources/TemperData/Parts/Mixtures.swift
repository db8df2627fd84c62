import Glibc
import TemperCore

/// A mixture of two normal distributions of one variable, fitted by expectation-maximisation.
package struct GaussianMixture: Sendable, Hashable {
  /// Ascending by mean.
  package private(set) var weights: [Double]
  package private(set) var means: [Double]
  package private(set) var variances: [Double]
  /// The mean of log p over the values, after the last iteration.
  package private(set) var logLikelihood = -Double.infinity
  package private(set) var iterations = 0

  package init(weights: [Double], means: [Double], variances: [Double]) {
    (self.weights, self.means, self.variances) = (weights, means, variances)
  }

  /// Starts from a cut of the sorted values into clusters (one-dimensional k-means from quantiles). Ends when the mean log
  /// likelihood changes by less than `tolerance`. `floor` is added to variances.
  package init(
    fitting values: [Double], iterations: Int = 100, tolerance: Double = 1e-3, floor: Double = 1e-6
  ) throws(TemperError) {
    guard values.count >= 2 else {
      throw TemperError(.outOfRange, "A mixture of 2 components needs as many values; \(values.count) came.")
    }
    var shares = GaussianMixture.clusters(values)
    (weights, means, variances) = ([], [], [])
    maximise(values, shares, floor)
    for iteration in 1...Swift.max(iterations, 1) {
      self.iterations = iteration
      let before = logLikelihood
      logLikelihood = expect(values, into: &shares)
      if abs(logLikelihood - before) < tolerance { break }
      maximise(values, shares, floor)
    }
    let order = ascendingOrder(means)
    (weights, means, variances) = (order.map { weights[$0] }, order.map { means[$0] }, order.map { variances[$0] })
  }

  /// P(component | value) for each value, a row of components after the other.
  package func posteriors(_ values: [Double]) -> [Double] {
    var shares = [Double](repeating: 0, count: values.count * means.count)
    _ = expect(values, into: &shares)
    return shares
  }

  /// r_ik ~ weight_k N(x_i; mean_k, variance_k); the mean log likelihood.
  private func expect(_ values: [Double], into shares: inout [Double]) -> Double {
    let offsets = weights.indices.map { log(weights[$0]) - 0.5 * log(2 * Double.pi * variances[$0]) }
    return values.shares(ofNormals: means, offsets, variances.map { -0.5 / $0 }, into: &shares) / Double(values.count)
  }

  private mutating func maximise(_ values: [Double], _ shares: [Double], _ floor: Double) {
    let first = values.moments(of: shares, around: [0, 0])
    let sizes = first.map { $0.size + 10 * Double.ulpOfOne }
    means = (0..<2).map { first[$0].sum / sizes[$0] }
    let second = values.moments(of: shares, around: means)
    variances = (0..<2).map { second[$0].squares / sizes[$0] + floor }
    let whole = sizes.reduce(0, +)
    weights = sizes.map { $0 / whole }
  }

  /// One-hot shares by Lloyd's iterations from the middles of the lower and the upper half.
  private static func clusters(_ values: [Double]) -> [Double] {
    let sorted = ascending(values)
    var sums = [0.0]
    sums.reserveCapacity(sorted.count + 1)
    for value in sorted { sums.append(sums[sums.count - 1] + value) }
    let count = sorted.count
    var centres = [sorted[count / 4], sorted[3 * count / 4]]
    if centres[0] == centres[1] {
      let (low, width) = (sorted[0], sorted[count - 1] - sorted[0])
      centres = [low + 0.25 * width, low + 0.75 * width]
    }
    func isOfSecond(_ value: Double) -> Bool { abs(value - centres[1]) < abs(value - centres[0]) }
    for _ in 0..<100 {
      // The first that is nearer to the second centre.
      var (cut, end) = (0, count)
      while cut < end {
        let middle = (cut + end) / 2
        if isOfSecond(sorted[middle]) { end = middle } else { cut = middle + 1 }
      }
      let next = [
        cut > 0 ? sums[cut] / Double(cut) : centres[0],
        cut < count ? (sums[count] - sums[cut]) / Double(count - cut) : centres[1],
      ]
      if next == centres { break }
      centres = next
    }
    var shares = [Double](repeating: 0, count: 2 * values.count)
    for (i, value) in values.enumerated() { shares[2 * i + (isOfSecond(value) ? 1 : 0)] = 1 }
    return shares
  }
}

/// Two beta distributions on [0, 1], fitted by expectation-maximisation with weighted moments (Arazo et al., 2019, arXiv
/// 1904.11238): of losses, one for those of right labels and one for those of wrong ones.
package struct BetaMixture: Sendable, Hashable {
  /// Ascending by mean.
  package private(set) var weights: [Double] = [0.5, 0.5]
  package private(set) var alphas: [Double] = [1, 2]
  package private(set) var betas: [Double] = [2, 1]

  /// Values are held this far from 0 and 1.
  private static let margin = 1e-4

  package init(weights: [Double], alphas: [Double], betas: [Double]) {
    (self.weights, self.alphas, self.betas) = (weights, alphas, betas)
  }

  /// `values` lie in [0, 1].
  package init(fitting values: [Double], iterations: Int = 10) {
    for _ in 0..<iterations {
      let shares = posteriors(values)
      for k in 0..<2 {
        var (size, sum) = (1e-12, 0.0)
        for (i, value) in values.enumerated() {
          size += shares[2 * i + k]
          sum += shares[2 * i + k] * BetaMixture.inside(value)
        }
        let mean = sum / size
        var square = 0.0
        for (i, value) in values.enumerated() {
          square += shares[2 * i + k] * (BetaMixture.inside(value) - mean) * (BetaMixture.inside(value) - mean)
        }
        // The beta distribution of this mean and variance.
        let strength = Swift.max(mean * (1 - mean) / Swift.max(square / size, 1e-9) - 1, 1e-3)
        (alphas[k], betas[k]) = (Swift.max(mean * strength, 1e-3), Swift.max((1 - mean) * strength, 1e-3))
        weights[k] = size / Double(Swift.max(values.count, 1))
      }
      let whole = weights.reduce(0, +)
      weights = weights.map { $0 / whole }
    }
    let order = means[0] <= means[1] ? [0, 1] : [1, 0]
    (weights, alphas, betas) = (order.map { weights[$0] }, order.map { alphas[$0] }, order.map { betas[$0] })
  }

  package var means: [Double] { zip(alphas, betas).map { $0 / ($0 + $1) } }

  /// P(component | value) for each value, a row of two after the other.
  package func posteriors(_ values: [Double]) -> [Double] {
    let offsets = (0..<2).map {
      log(Swift.max(weights[$0], 1e-300)) + lgamma(alphas[$0] + betas[$0]) - lgamma(alphas[$0]) - lgamma(betas[$0])
    }
    var shares = [Double](repeating: 0, count: values.count * 2)
    for (i, value) in values.enumerated() {
      let x = BetaMixture.inside(value)
      let logs = (0..<2).map { offsets[$0] + (alphas[$0] - 1) * log(x) + (betas[$0] - 1) * log1p(-x) }
      let second = 1 / (1 + exp(logs[0] - logs[1]))
      (shares[2 * i], shares[2 * i + 1]) = (1 - second, second)
    }
    return shares
  }

  private static func inside(_ value: Double) -> Double { Swift.min(Swift.max(value, margin), 1 - margin) }
}
