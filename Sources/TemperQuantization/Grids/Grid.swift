import TemperCore

/// The levels that codes stand for. A weight is scale · (level − zero point).
package struct Grid: Sendable, Hashable {
  package enum Levels: Sendable, Hashable {
    /// −2^(b−1) + code, without the lowest one, so that the grid is symmetric; no zero points.
    case symmetric
    /// The code itself; each group has a zero point, which is one of the codes.
    case asymmetric
    /// The code itself, without zero points: for forms with offsets.
    case unsigned
    /// Those of a table; no zero points.
    case codebook(Codebook)
  }

  package let bits: Int
  package let levels: Levels

  package init(_ levels: Levels, bits: Int) throws(TemperError) {
    (self.levels, self.bits) = (levels, bits)
    let allowed =
      switch levels {
      case .codebook(let codebook): codebook.bits...codebook.bits
      case .unsigned: 1...8
      default: 2...8
      }
    guard allowed.contains(bits) else {
      let range = allowed.count == 1 ? "\(allowed.lowerBound)" : "\(allowed.lowerBound) to 8"
      throw TemperError(.outOfRange, "A grid of \(name) levels has \(range) bits; \(bits) came.")
    }
  }

  /// For numbers of bits from 2 to 8.
  init(symmetricBits bits: Int) { (levels, self.bits) = (.symmetric, bits) }

  package init(_ codebook: Codebook) { (levels, bits) = (.codebook(codebook), codebook.bits) }

  /// The name of its levels, in files too.
  package var name: String {
    switch levels {
    case .symmetric: "symmetric"
    case .asymmetric: "asymmetric"
    case .unsigned: "unsigned"
    case .codebook(let codebook): codebook.name
    }
  }

  package init(named name: String, bits: Int) throws(TemperError) {
    let known: [Levels] = [.symmetric, .asymmetric, .unsigned] + Codebook.all.map { .codebook($0) }
    let names = ["symmetric", "asymmetric", "unsigned"] + Codebook.all.map(\.name)
    guard let index = names.firstIndex(of: name) else {
      throw TemperError(
        .unknownName, "There are no levels \"\(name)\"; there are \(names.joined(separator: ", ")).")
    }
    try self.init(known[index], bits: bits)
  }

  package var highestCode: Int { (1 << bits) - 1 }
  /// The lowest code that is used; for whole levels.
  package var lowestCode: Int { levels == .symmetric ? 1 : 0 }
  package var hasZeroPoints: Bool { levels == .asymmetric }
  var codebook: Codebook? { if case .codebook(let codebook) = levels { codebook } else { nil } }

  /// The level of code 0 where levels are whole; each next code is one more.
  package var firstLevel: Int { levels == .symmetric ? -(1 << (bits - 1)) : 0 }

  /// The largest level.
  package var largestLevel: Float {
    codebook.map { $0.levels.reduce(0) { $1 > $0 ? $1 : $0 } } ?? Float(firstLevel + highestCode)
  }

  /// Whether a weight may have this code.
  func uses(_ code: UInt8) -> Bool {
    codebook.map { Int(code) <= highestCode && !$0.levels[Int(code)].isNaN }
      ?? (lowestCode...highestCode).contains(Int(code))
  }
}
