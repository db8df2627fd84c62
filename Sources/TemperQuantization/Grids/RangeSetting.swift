import TemperCore

/// Which part of a group's values its grid covers; what lies beyond goes to the grid's ends.
package enum RangeSetting: Sendable, Hashable {
  /// All of them.
  case minMax
  /// The part of least squared error: of the fractions 1/100, 2/100, …, 1 of the whole range.
  case leastSquares
  /// Values no larger in size than this percentile of the sizes, in (0, 100].
  case percentile(Double)
  /// What changes the distribution of sizes least.
  case entropy
  /// What is best for normal or Laplacian values.
  case analytic
}

extension Grid {
  /// The finest scale at which the grid reaches from `minimum` to `maximum`, zero always included.
  ///
  /// Symmetric: scale = max |w| / (2^(b−1) − 1); codebooks: max |w| / largest level. Asymmetric: scale = (max − min) /
  /// (2^b − 1), zero point = round(−min / scale), so that 0 is a level and no weight lies more than half a step from
  /// one.
  func covering(_ minimum: Float, _ maximum: Float) -> (scale: Float, zero: UInt8) {
    let (low, high) = (min(Double(minimum), 0), max(Double(maximum), 0))
    if hasZeroPoints {
      let scale = usable((high - low) / Double(highestCode))
      let zero = min((-low / Double(scale)).rounded(.toNearestOrEven), Double(highestCode))
      return (scale, UInt8(zero))
    }
    var scale = usable(max(-low, high) / Double(largestLevel))
    // Of all scales with the same largest multiple the smallest, so that quantizing a second time changes no bit.
    let reach = scale * largestLevel
    while scale > .leastNormalMagnitude, scale.nextDown * largestLevel == reach { scale = scale.nextDown }
    return (scale, 0)
  }

  /// As float32, a scale that can be divided by. `Weight.largest` keeps its multiples finite.
  private func usable(_ exact: Double) -> Float { exact > 0 ? max(Float(exact), .leastNormalMagnitude) : 1 }
}
