/// The hash of FIPS 180-4: what watermarks of words are keyed with.
enum SHA256 {
  /// The 32 bytes of the digest, the most significant one first.
  static func digest(of message: [UInt8]) -> [UInt8] {
    // A one, zeros to 56 bytes of the last block, and the length in bits.
    var padded = message + [0x80]
    padded += [UInt8](repeating: 0, count: (120 - padded.count % 64) % 64)
    let bits = UInt64(message.count) * 8
    padded += (0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * $0)) }

    var state = SHA256.start
    for block in stride(from: 0, to: padded.count, by: 64) {
      var words = (0..<16).map { word in
        (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(padded[block + 4 * word + $1]) }
      }
      for t in 16..<64 {
        let (a, b) = (words[t - 15], words[t - 2])
        let sigma0 = turn(a, 7) ^ turn(a, 18) ^ a >> 3
        let sigma1 = turn(b, 17) ^ turn(b, 19) ^ b >> 10
        words.append(words[t - 16] &+ sigma0 &+ words[t - 7] &+ sigma1)
      }
      var s = state
      for t in 0..<64 {
        let (a, e) = (s[0], s[4])
        let choice = e & s[5] ^ ~e & s[6]
        let majority = a & s[1] ^ a & s[2] ^ s[1] & s[2]
        let first = s[7] &+ (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) &+ choice &+ SHA256.roots[t] &+ words[t]
        let second = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) &+ majority
        s = [first &+ second, a, s[1], s[2], s[3] &+ first, e, s[5], s[6]]
      }
      for i in 0..<8 { state[i] &+= s[i] }
    }
    return state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) } }
  }

  private static func turn(_ x: UInt32, _ count: UInt32) -> UInt32 { x >> count | x << (32 - count) }

  /// The first 32 bits of the fractional parts of the square roots of the first eight primes.
  private static let start = primes(8).map { fraction(of: $0, power: 2) }

  /// The same of the cube roots of the first 64 primes.
  private static let roots = primes(64).map { fraction(of: $0, power: 3) }

  private static func primes(_ count: Int) -> [UInt64] {
    var found: [UInt64] = []
    var candidate: UInt64 = 2
    while found.count < count {
      if found.allSatisfy({ candidate % $0 != 0 }) { found.append(candidate) }
      candidate += 1
    }
    return found
  }

  /// floor(2^32 root(n)) mod 2^32: the largest x with x^power <= n 2^(32 power), bit by bit, in whole numbers.
  private static func fraction(of n: UInt64, power: Int) -> UInt32 {
    var x: UInt64 = 0
    for bit in stride(from: 36, through: 0, by: -1) {
      let y = UInt128(x | 1 << UInt64(bit))
      let value = power == 2 ? y * y : y * y * y
      if value <= UInt128(n) << UInt128(32 * power) { x = UInt64(y) }
    }
    return UInt32(truncatingIfNeeded: x)
  }
}
