import TemperCore

/// A protocol-buffer message being written: fields one after the other, each a key and a value.
struct Protobuf {
  private(set) var bytes: [UInt8] = []

  private mutating func variable(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  private mutating func key(_ field: Int, wire: Int) { variable(UInt64(field << 3 | wire)) }

  mutating func put(_ field: Int, _ value: Int) {
    key(field, wire: 0)
    variable(UInt64(bitPattern: Int64(value)))
  }

  mutating func put(_ field: Int, _ value: Float) {
    key(field, wire: 5)
    for byte in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: value.bitPattern >> (8 * byte))) }
  }

  mutating func put(_ field: Int, _ value: [UInt8]) {
    key(field, wire: 2)
    variable(UInt64(value.count))
    bytes += value
  }

  mutating func put(_ field: Int, _ text: String) { put(field, Array(text.utf8)) }
  mutating func put(_ field: Int, _ message: Protobuf) { put(field, message.bytes) }
}
