import TemperCore

/// A table of levels, one for each code. Codes that stand for no number have NaN.
package struct Codebook: Sendable, Hashable {
  package let name: String
  package let levels: [Float]

  package var bits: Int { levels.count.trailingZeroBitCount }

  package static let all: [Codebook] = [nf4, fp4E2M1, fp6E2M3, fp6E3M2, fp8E4M3, fp8E5M2, binary, ternary]

  /// Of levels that were found for one weight; a file holds them beside the codes.
  static let learnedName = "learned"
  package var isLearned: Bool { name == Codebook.learnedName }

  /// 2 to 256 finite levels, a power of two of them; some may be the same.
  package init(learned levels: [Float]) throws(TemperError) {
    guard (2...256).contains(levels.count), levels.count.nonzeroBitCount == 1 else {
      throw TemperError(.invalidShape, "A table has 2 to 256 levels, a power of two; \(levels.count) came.")
    }
    guard levels.allSatisfy({ abs($0) <= 0x1p60 }), levels.contains(where: { $0 > 0 }) else {
      throw TemperError(
        .notFinite, "The levels of a table are finite, at most 2^60 in size, and not all of them at or below zero.")
    }
    self.init(name: Codebook.learnedName, levels: levels)
  }

  private init(name: String, levels: [Float]) { (self.name, self.levels) = (name, levels) }

  package static let binary = Codebook(name: "binary", levels: [-1, 1])
  /// One of four codes stands for no number.
  package static let ternary = Codebook(name: "ternary", levels: [-1, 0, 1, .nan])

  /// Quantiles of the normal distribution, between the most even ones and with an exact zero, over the largest.
  /// Dettmers et al., 2023, arXiv 2305.14314.
  package static let nf4 = Codebook(
    name: "nf4",
    levels: [
      -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
      -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
      0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
    ])

  /// OCP Microscaling Formats, 2023: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
  package static let fp4E2M1 = minifloat("fp4_e2m1", exponentBits: 2, fractionBits: 1, bias: 1, codesBelow: 8)
  /// OCP Microscaling Formats, 2023: up to 7.5 and up to 28.
  package static let fp6E2M3 = minifloat("fp6_e2m3", exponentBits: 2, fractionBits: 3, bias: 1, codesBelow: 32)
  package static let fp6E3M2 = minifloat("fp6_e3m2", exponentBits: 3, fractionBits: 2, bias: 3, codesBelow: 32)
  /// OCP 8-bit Floating Point, 2023: up to 448, no infinities, one NaN.
  package static let fp8E4M3 = minifloat("fp8_e4m3", exponentBits: 4, fractionBits: 3, bias: 7, codesBelow: 0x7F)
  /// Up to 57344; the largest exponent is for infinities and NaN.
  package static let fp8E5M2 = minifloat("fp8_e5m2", exponentBits: 5, fractionBits: 2, bias: 15, codesBelow: 0x7C)

  /// Sign, exponent e, fraction f: (1 + f / 2^m) 2^(e − bias), and f / 2^m 2^(1 − bias) where e = 0. From `codesBelow`
  /// on, sign aside, codes stand for no number.
  private static func minifloat(
    _ name: String, exponentBits: Int, fractionBits: Int, bias: Int, codesBelow: Int
  ) -> Codebook {
    let half = 1 << (exponentBits + fractionBits)
    let positive = (0..<half).map { code -> Float in
      guard code < codesBelow else { return .nan }
      let exponent = code >> fractionBits
      let fraction = Float(code & ((1 << fractionBits) - 1)) / Float(1 << fractionBits)
      return Float(
        sign: .plus, exponent: max(exponent, 1) - bias, significand: exponent == 0 ? fraction : 1 + fraction)
    }
    return Codebook(name: name, levels: positive + positive.map { -$0 })
  }
}

/// The levels of a codebook in ascending order, each once, with what decides between neighbours.
struct SortedLevels: Sendable {
  let levels: [Float]
  let codes: [UInt8]
  /// A value above thresholds[i] belongs above levels[i]. Half way between two levels the even code wins, as in the
  /// rounding of floating-point numbers.
  let thresholds: [Float]

  init(_ codebook: Codebook) {
    let numbers = codebook.levels.indices.filter { !codebook.levels[$0].isNaN }
    let sorted = numbers.sorted { (codebook.levels[$0], $0) < (codebook.levels[$1], $1) }
    let kept = sorted.enumerated().filter { place, code in
      place == 0 || codebook.levels[sorted[place - 1]] != codebook.levels[code]
    }.map(\.element)
    levels = kept.map { codebook.levels[$0] }
    codes = kept.map { UInt8($0) }
    thresholds = zip(kept, kept.dropFirst()).map { lower, upper in
      let middle = (Double(codebook.levels[lower]) + Double(codebook.levels[upper])) / 2
      var threshold = Float(middle)
      if Double(threshold) > middle { threshold = threshold.nextDown }
      return Double(threshold) == middle && upper % 2 == 0 ? threshold.nextDown : threshold
    }
  }
}
