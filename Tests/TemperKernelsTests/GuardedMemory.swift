import Testing

/// Aligned memory that starts out as NaNs and tells whether anything was written behind its end.
final class GuardedMemory {
  private static let guardBytes = 64
  private static let pattern: UInt8 = 0x5a
  private let bytes: Int
  let base: UnsafeMutableRawPointer

  init(bytes: Int) {
    self.bytes = bytes
    base = .allocate(byteCount: bytes + Self.guardBytes, alignment: 64)
    base.initializeMemory(as: UInt8.self, repeating: 0xff, count: bytes)
    (base + bytes).initializeMemory(as: UInt8.self, repeating: Self.pattern, count: Self.guardBytes)
  }

  deinit { base.deallocate() }

  var isIntact: Bool {
    UnsafeRawBufferPointer(start: base + bytes, count: Self.guardBytes).allSatisfy { $0 == Self.pattern }
  }
}

/// Uniform numbers in [-1, 1), the same in every run.
struct SplitMix {
  var state: UInt64

  mutating func next() -> Double {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return Double(Int64(bitPattern: z ^ (z >> 31)) >> 11) * 0x1p-52
  }
}
