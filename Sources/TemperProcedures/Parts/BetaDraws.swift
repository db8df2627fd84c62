import TemperCore

extension Random {
  /// Of the beta distribution, in [0, 1].
  mutating func beta(_ a: Double, _ b: Double) -> Double {
    guard (a + b).isFinite else { return 0.5 }  // all weight is in the middle
    let (x, y) = (gamma(a), gamma(b))
    // Of tiny shapes both may underflow: nearly all weight is then at the ends.
    return x + y > 0 ? x / (x + y) : (uniform() < a / (a + b) ? 1 : 0)
  }
}
