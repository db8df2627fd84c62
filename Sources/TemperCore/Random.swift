/// Counter-based random numbers: Philox4x32-10 (Salmon et al., 2011).
///
/// A number is a function of (seed, stream, counter): streams are split by name without any hidden state, so that
/// adding a consumer never changes the numbers of another, and a resume only needs the counter.
public struct Random: Sendable {
  /// What the seed and the stream's name make together; identifies the stream.
  public let key: UInt64
  /// Blocks of four numbers drawn so far.
  public var counter: UInt64 = 0
  private var block: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
  private var left = 0

  public init(seed: UInt64, stream: String = "") { self.init(key: Random.mix(seed, stream)) }

  public init(key: UInt64, counter: UInt64 = 0) { (self.key, self.counter) = (key, counter) }

  /// An independent stream below this one.
  public func stream(_ name: String) -> Random { Random(key: Random.mix(key, name)) }
  public func stream(_ index: Int) -> Random {
    Random(key: Random.finish(key ^ Random.finish(UInt64(bitPattern: Int64(index)) &+ 1)))
  }

  public mutating func nextUInt32() -> UInt32 {
    if left == 0 {
      block = Random.philox(key: key, counter: (counter, 0))
      counter &+= 1
      left = 4
    }
    left -= 1
    switch left {
    case 3: return block.0
    case 2: return block.1
    case 1: return block.2
    default: return block.3
    }
  }

  public mutating func nextUInt64() -> UInt64 { UInt64(nextUInt32()) << 32 | UInt64(nextUInt32()) }

  /// Uniform in [0, 1), 53 bits.
  public mutating func uniform() -> Double { Double(nextUInt64() >> 11) * 0x1p-53 }

  /// Uniform in 0..<bound, without bias (Lemire, 2019).
  public mutating func below(_ bound: Int) -> Int {
    guard bound > 1 else { return 0 }
    let range = UInt64(bound)
    var product = nextUInt64().multipliedFullWidth(by: range)
    if product.low < range {
      let threshold = (0 &- range) % range
      while product.low < threshold { product = nextUInt64().multipliedFullWidth(by: range) }
    }
    return Int(product.high)
  }

  /// 0..<count in random order (Fisher and Yates).
  public mutating func permutation(_ count: Int) -> [Int] {
    var order = Array(0..<count)
    for i in stride(from: count - 1, to: 0, by: -1) { order.swapAt(i, below(i + 1)) }
    return order
  }

  /// One block of Philox4x32-10.
  public static func philox(key: UInt64, counter: (UInt64, UInt64)) -> (UInt32, UInt32, UInt32, UInt32) {
    var (c0, c1) = (UInt32(truncatingIfNeeded: counter.0), UInt32(truncatingIfNeeded: counter.0 >> 32))
    var (c2, c3) = (UInt32(truncatingIfNeeded: counter.1), UInt32(truncatingIfNeeded: counter.1 >> 32))
    var (k0, k1) = (UInt32(truncatingIfNeeded: key), UInt32(truncatingIfNeeded: key >> 32))
    for _ in 0..<10 {
      let p = UInt64(c0) &* 0xD251_1F53
      let q = UInt64(c2) &* 0xCD9E_8D57
      (c0, c1, c2, c3) = (
        UInt32(truncatingIfNeeded: q >> 32) ^ c1 ^ k0, UInt32(truncatingIfNeeded: q),
        UInt32(truncatingIfNeeded: p >> 32) ^ c3 ^ k1, UInt32(truncatingIfNeeded: p)
      )
      (k0, k1) = (k0 &+ 0x9E37_79B9, k1 &+ 0xBB67_AE85)
    }
    return (c0, c1, c2, c3)
  }

  private static func mix(_ seed: UInt64, _ name: String) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    return finish(finish(seed) ^ hash)
  }

  /// The finaliser of SplitMix64: every input bit reaches every output bit.
  private static func finish(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
