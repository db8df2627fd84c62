import TemperCore
import Testing

@Suite struct RandomTests {
  /// Known answers published with Philox (Random123, kat_vectors).
  @Test func philoxKnownAnswers() {
    #expect(Random.philox(key: 0, counter: (0, 0)) == (0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
    #expect(
      Random.philox(key: .max, counter: (.max, .max)) == (0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    #expect(
      Random.philox(key: 0x299f_31d0_a409_3822, counter: (0x85a3_08d3_243f_6a88, 0x0370_7344_1319_8a2e))
        == (0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
  }

  @Test func streamsAreIndependentOfUse() {
    var a = Random(seed: 7).stream("shuffle")
    let b = Random(seed: 7)
    _ = a.nextUInt64()
    var c = b.stream("shuffle")
    _ = c.nextUInt64()
    #expect(a.nextUInt64() == c.nextUInt64())
    var d = b.stream("dropout")
    var e = b.stream("shuffle")
    #expect(d.nextUInt64() != e.nextUInt64())
  }

  @Test func permutationIsOne() {
    var random = Random(seed: 1)
    let order = random.permutation(1000)
    #expect(order.sorted() == Array(0..<1000))
    #expect(order != Array(0..<1000))
  }

  @Test func uniformHasItsMoments() {
    var random = Random(seed: 3)
    let values = (0..<100_000).map { _ in random.uniform() }
    let mean = values.reduce(0, +) / 1e5
    let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 1e5
    #expect(abs(mean - 0.5) < 0.005)
    #expect(abs(variance - 1 / 12.0) < 0.002)
  }
}
