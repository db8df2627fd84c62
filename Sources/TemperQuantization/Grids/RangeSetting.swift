import TemperCore

/// Scales and zero points from the range of values that a grid is to cover.
extension Grid {
  /// The finest scale at which the grid reaches from `minimum` to `maximum`, zero always included.
  ///
  /// Symmetric: scale = max |w| / (2^(b−1) − 1). Asymmetric: scale = (max − min) / (2^b − 1), zero point =
  /// round(−min / scale), so that 0 is a level and no weight lies more than half a step from one.
  func covering(_ minimum: Float, _ maximum: Float) -> (scale: Float, zero: UInt8) {
    let (low, high) = (min(Double(minimum), 0), max(Double(maximum), 0))
    switch levels {
    case .symmetric:
      var scale = usable(max(-low, high) / Double(largestLevel))
      // Of all scales with the same largest multiple the smallest, so that quantizing a second time changes no bit.
      let reach = scale * Float(largestLevel)
      while scale > .leastNormalMagnitude, scale.nextDown * Float(largestLevel) == reach { scale = scale.nextDown }
      return (scale, 0)
    case .asymmetric:
      let scale = usable((high - low) / Double(highestCode))
      let zero = min((-low / Double(scale)).rounded(.toNearestOrEven), Double(highestCode))
      return (scale, UInt8(zero))
    }
  }

  /// As float32, a scale that can be divided by. `Weight.largest` keeps its multiples finite.
  private func usable(_ exact: Double) -> Float { exact > 0 ? max(Float(exact), .leastNormalMagnitude) : 1 }
}
