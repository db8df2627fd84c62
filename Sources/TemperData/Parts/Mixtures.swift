import Glibc
import TemperCore

/// A mixture of normal distributions of one variable, fitted by expectation-maximisation.
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
    fitting values: [Double], components: Int = 2, iterations: Int = 100, tolerance: Double = 1e-3,
    floor: Double = 1e-6
  ) throws(TemperError) {
    guard values.count >= components, components >= 1 else {
      throw TemperError(
        .outOfRange, "A mixture of \(components) components needs as many values; \(values.count) came.")
    }
    var shares = GaussianMixture.clusters(ascending(values), components, values)
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
    let components = means.count
    let factors = variances.map { -0.5 / $0 }
    let offsets = weights.indices.map { log(weights[$0]) - 0.5 * log(2 * Double.pi * variances[$0]) }
    var total = 0.0
    for (i, value) in values.enumerated() {
      var top = -Double.infinity
      for k in 0..<components {
        let difference = value - means[k]
        shares[i * components + k] = offsets[k] + factors[k] * difference * difference
        top = Swift.max(top, shares[i * components + k])
      }
      var sum = 0.0
      for k in 0..<components {
        shares[i * components + k] = exp(shares[i * components + k] - top)
        sum += shares[i * components + k]
      }
      for k in 0..<components { shares[i * components + k] /= sum }
      total += top + log(sum)
    }
    return total / Double(values.count)
  }

  private mutating func maximise(_ values: [Double], _ shares: [Double], _ floor: Double) {
    let components = shares.count / values.count
    var (sizes, sums) = (
      [Double](repeating: 10 * Double.ulpOfOne, count: components), [Double](repeating: 0, count: components)
    )
    for (i, value) in values.enumerated() {
      for k in 0..<components {
        sizes[k] += shares[i * components + k]
        sums[k] += shares[i * components + k] * value
      }
    }
    means = (0..<components).map { sums[$0] / sizes[$0] }
    var squares = [Double](repeating: 0, count: components)
    for (i, value) in values.enumerated() {
      for k in 0..<components {
        let difference = value - means[k]
        squares[k] += shares[i * components + k] * difference * difference
      }
    }
    variances = (0..<components).map { squares[$0] / sizes[$0] + floor }
    let whole = sizes.reduce(0, +)
    weights = sizes.map { $0 / whole }
  }

  /// One-hot shares by Lloyd's iterations from the quantiles' midpoints.
  private static func clusters(_ sorted: [Double], _ components: Int, _ values: [Double]) -> [Double] {
    var centres = (0..<components).map { sorted[(2 * $0 + 1) * sorted.count / (2 * components)] }
    if Set(centres).count < components, let low = sorted.first, let high = sorted.last {
      centres = (0..<components).map { low + (high - low) * (Double($0) + 0.5) / Double(components) }
    }
    for _ in 0..<100 {
      var (sums, sizes) = ([Double](repeating: 0, count: components), [Double](repeating: 0, count: components))
      var nearest = 0
      for value in sorted {
        while nearest + 1 < components, abs(value - centres[nearest + 1]) < abs(value - centres[nearest]) {
          nearest += 1
        }
        sums[nearest] += value
        sizes[nearest] += 1
      }
      let next = (0..<components).map { sizes[$0] > 0 ? sums[$0] / sizes[$0] : centres[$0] }
      if next == centres { break }
      centres = next
    }
    var shares = [Double](repeating: 0, count: values.count * components)
    for (i, value) in values.enumerated() {
      let nearest = centres.indices.reduce(0) { abs(value - centres[$1]) < abs(value - centres[$0]) ? $1 : $0 }
      shares[i * components + nearest] = 1
    }
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
