import TemperCore

/// The levels that codes stand for. A weight is scale · (level − zero point).
package struct Grid: Sendable, Hashable {
  package enum Levels: String, Sendable {
    /// −2^(b−1) + code, without the lowest one, so that the grid is symmetric; no zero points.
    case symmetric
    /// The code itself; each group has a zero point, which is one of the codes.
    case asymmetric
  }

  package let bits: Int
  package let levels: Levels

  package init(_ levels: Levels, bits: Int) throws(TemperError) {
    guard (2...8).contains(bits) else {
      throw TemperError(.outOfRange, "A \(levels.rawValue) grid has 2 to 8 bits; \(bits) came.")
    }
    (self.levels, self.bits) = (levels, bits)
  }

  package var highestCode: Int { (1 << bits) - 1 }
  /// The lowest code that is used.
  package var lowestCode: Int { levels == .symmetric ? 1 : 0 }
  package var hasZeroPoints: Bool { levels == .asymmetric }

  /// The level of code 0; each next code is one more.
  package var firstLevel: Int { levels == .symmetric ? -(1 << (bits - 1)) : 0 }
  package var largestLevel: Int { firstLevel + highestCode }
}
