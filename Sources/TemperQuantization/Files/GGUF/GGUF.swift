import TemperCore

/// Named tensors in few bits, and metadata, in one file that llama.cpp and others read (ggml-org/ggml, docs/gguf.md).
///
/// "GGUF", the version, numbers of tensors and of metadata; each metadata a key, a type and a value; each tensor a name,
/// sizes (innermost first), a type and an offset; then, from a multiple of the alignment on, the tensors' data, each
/// from such a multiple on too. All little-endian.
package struct GGUF: Sendable {
  /// A metadata value. Whole numbers and floats of all widths are one case each.
  package indirect enum Value: Sendable, Hashable {
    case boolean(Bool)
    case integer(Int)
    case unsigned(UInt)
    case real(Double)
    case text(String)
    case array([Value])
  }

  package struct Entry: Sendable {
    package let name: String
    package let type: GGUFType
    package let shape: Shape
    /// In the file.
    let range: Range<Int>
    package var byteCount: Int { range.count }
  }

  package let metadata: [(key: String, value: Value)]
  package let tensors: [Entry]
  let file: ReadableFile

  package subscript(key: String) -> Value? { metadata.first { $0.key == key }?.value }

  /// The tensor's numbers: float32, or float64, int32 and int64 where it is stored so.
  package func tensor(_ entry: Entry, workers: Workers) throws(TemperError) -> Tensor {
    try entry.type.decode(try file.read(entry.range), shape: entry.shape, workers: workers)
  }

  static let magic: [UInt8] = Array("GGUF".utf8)
  static let version: UInt32 = 3
  static let alignment = 32
  static let alignmentKey = "general.alignment"
  static let maximumRank = 4
}

/// The numbers of metadata types in files.
enum GGUFValueType: UInt32 {
  case uint8, int8, uint16, int16, uint32, int32, float32, boolean, text, array, uint64, int64, float64

  /// The least bytes that a value takes.
  var byteCount: Int {
    switch self {
    case .uint8, .int8, .boolean: 1
    case .uint16, .int16: 2
    case .uint32, .int32, .float32: 4
    case .uint64, .int64, .float64, .text: 8
    case .array: 12
    }
  }
}

extension GGUF.Value {
  package var json: JSON {
    switch self {
    case .boolean(let value): .boolean(value)
    case .integer(let value): .integer(value)
    case .unsigned(let value): Int(exactly: value).map { .integer($0) } ?? .real(Double(value))
    case .real(let value): .real(value)
    case .text(let value): .text(value)
    case .array(let values): .array(values.map(\.json))
    }
  }
}
