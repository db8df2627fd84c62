import TemperCore

/// The constants (initializers) of an ONNX file, and its metadata: what weights can be taken from. `ONNXImport` reads its
/// graph.
package struct ONNXFile: Sendable {
  package struct Entry: Sendable {
    package let name: String
    let type: ONNXType
    package let shape: Shape
    /// Where its numbers are, in the file: as they lie in memory, little-endian; 4-bit ones two in a byte.
    let range: Range<Int>
    /// Whole numbers written one after the other in a form of their own, as shapes may be.
    var numbers: [Int]?

    package var typeName: String { "\(type)".uppercased() }
    package var byteCount: Int { range.count }
  }

  package let metadata: [(key: String, value: String)]
  /// All constants; `tensors` are those that lie in the file as in memory.
  let constants: [Entry]
  package var tensors: [Entry] { constants.filter { $0.numbers == nil } }
  private let file: ReadableFile
  var path: String { file.path }

  package init(reading file: ReadableFile) throws(TemperError) {
    self.file = file
    do throws(TemperError) {
      let bytes = try ONNXFile.bytes(file)
      var metadata: [(key: String, value: String)] = []
      var tensors: [Entry] = []
      var names: Set<String> = []
      var hasGraph = false
      var model = ProtobufReader(bytes, 0..<bytes.count)
      while let field = try model.next() {
        // ModelProto: graph, metadata_props
        if field.number == 14, let range = field.range {
          let texts = try ProtobufReader(bytes, range).texts()
          if let key = texts[1] { metadata.append((key, texts[2] ?? "")) }
        }
        guard field.number == 7, let range = field.range else { continue }
        hasGraph = true
        var graph = ProtobufReader(bytes, range)
        while let field = try graph.next() {
          guard field.number == 5, let range = field.range, let entry = try ONNXFile.entry(bytes, range) else {
            continue
          }
          guard names.insert(entry.name).inserted else {
            throw ONNXFile.malformed("two tensors are called \"\(entry.name)\"")
          }
          tensors.append(entry)
        }
      }
      guard hasGraph else { throw ONNXFile.malformed("it has no graph") }
      (self.metadata, constants) = (metadata, tensors)
    } catch { throw error.from(file.path) }
  }

  private static func bytes(_ file: ReadableFile) throws(TemperError) -> [UInt8] {
    try file.read(0..<file.byteCount).array(of: UInt8.self)
  }

  /// The whole file.
  func bytes() throws(TemperError) -> [UInt8] { try ONNXFile.bytes(file) }

  static func malformed(_ what: String) -> TemperError {
    TemperError(.malformedFile, "This is not a valid ONNX file: \(what).")
  }

  /// A TensorProto; nil for types and forms that no weights have.
  static func entry(_ bytes: [UInt8], _ range: Range<Int>) throws(TemperError) -> Entry? {
    var reader = ProtobufReader(bytes, range)
    var (sizes, name, number): ([Int], String, Int) = ([], "", 0)
    var (data, isExternal, numbers): (Range<Int>?, Bool, [Int]?) = (nil, false, nil)
    while let field = try reader.next() {
      switch field.number {
      case 1:
        if let range = field.range {
          sizes += try ProtobufReader(bytes, range).integers()
        } else {
          sizes.append(field.value)
        }
      case 2: number = field.value
      case 8:
        guard let range = field.range, let text = String(validating: bytes[range], as: UTF8.self) else {
          throw malformed("the name of a tensor is not UTF-8")
        }
        name = text
      // float_data, double_data and raw_data lie as in memory.
      case 4, 9, 10: data = field.range ?? data
      // int32_data and int64_data
      case 5, 7:
        if let range = field.range {
          numbers = try ProtobufReader(bytes, range).integers()
        } else {
          numbers = (numbers ?? []) + [field.value]
        }
      case 14: isExternal = field.value == 1
      default: break
      }
    }
    guard let type = ONNXType(rawValue: number), type.bits > 0 else { return nil }
    guard !isExternal else {
      throw TemperError(.unsupported, "The tensor \"\(name)\" is in another file; save the model as one file.")
    }
    let shape: Shape
    do throws(TemperError) { shape = try Shape(validating: sizes) } catch {
      throw malformed("the tensor \"\(name)\" has no possible shape: " + error.message)
    }
    if let numbers {
      // Half precision is written as its bits; no weights come so.
      guard numbers.count == shape.count, type.bits != 16 else { return nil }
      return Entry(name: name, type: type, shape: shape, range: range, numbers: numbers)
    }
    let range = data ?? range.lowerBound..<range.lowerBound
    guard range.count == (shape.count * type.bits + 7) / 8 else {
      throw malformed(
        "the tensor \"\(name)\" of shape \(shape) and type \(type) has \(range.count) bytes, not \((shape.count * type.bits + 7) / 8)"
      )
    }
    return Entry(name: name, type: type, shape: shape, range: range)
  }

  /// Its numbers: floats of half precision as float32, narrow integers as int32.
  package func tensor(_ entry: Entry, workers: Workers) throws(TemperError) -> Tensor {
    if let numbers = entry.numbers { return try Tensor(numbers.map { Int64($0) }, shape: entry.shape) }
    let bytes = try file.read(entry.range)
    let copied: DType? =
      switch entry.type {
      case .float: .float32
      case .double: .float64
      case .int32: .int32
      case .int64: .int64
      case .uint8, .boolean: .uint8
      default: nil
      }
    if let copied {
      return try Tensor(
        storage: bytes.storage, byteOffset: 0, dtype: copied, shape: entry.shape, strides: entry.shape.denseStrides)
    }
    if entry.type == .float16 || entry.type == .bfloat16 {
      let half = try GGUFType(named: entry.type == .float16 ? "F16" : "BF16")
      return try half.decode(bytes, shape: entry.shape, workers: workers)
    }
    let stored = try bytes.array(of: UInt8.self)
    let numbers = (0..<entry.shape.count).map { index -> Int32 in
      if entry.type.bits == 8 { return Int32(Int8(bitPattern: stored[index])) }
      let code = Int32(stored[index / 2] >> (index % 2 == 0 ? 0 : 4) & 15)
      return entry.type == .int4 && code > 7 ? code - 16 : code
    }
    return try Tensor(numbers, shape: entry.shape)
  }
}

/// Fields of a protocol-buffer message, one after the other; every length is checked.
struct ProtobufReader {
  struct Field {
    let number: Int
    /// Of fields that are numbers; the bits of those that are floats.
    let value: Int
    /// Of fields that are bytes.
    let range: Range<Int>?
  }

  private let bytes: [UInt8]
  private var position: Int
  private let end: Int

  init(_ bytes: [UInt8], _ range: Range<Int>) {
    (self.bytes, position, end) = (bytes, range.lowerBound, range.upperBound)
  }

  private mutating func variable() throws(TemperError) -> UInt64 {
    var (value, shift): (UInt64, UInt64) = (0, 0)
    while true {
      guard position < end else { throw ONNXFile.malformed("it ends within a number") }
      let byte = bytes[position]
      position += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
      shift += 7
      guard shift < 64 else { throw ONNXFile.malformed("a number has more than ten bytes") }
    }
  }

  mutating func next() throws(TemperError) -> Field? {
    guard position < end else { return nil }
    let key = try variable()
    guard let number = Int(exactly: key >> 3), number > 0 else { throw ONNXFile.malformed("a field has no number") }
    func skip(_ count: Int) throws(TemperError) -> Range<Int> {
      guard count <= end - position else {
        throw ONNXFile.malformed("a field of \(count) bytes is longer than the file")
      }
      return position..<(position + count)
    }
    switch key & 7 {
    case 0: return Field(number: number, value: Int(truncatingIfNeeded: try variable()), range: nil)
    case 1, 5:
      let bits = try skip(key & 7 == 1 ? 8 : 4)
      position = bits.upperBound
      return Field(number: number, value: bits.reversed().reduce(0) { $0 << 8 | Int(bytes[$1]) }, range: nil)
    case 2:
      guard let length = Int(exactly: try variable()) else {
        throw ONNXFile.malformed("a field is longer than the file")
      }
      let range = try skip(length)
      position = range.upperBound
      return Field(number: number, value: 0, range: range)
    default: throw ONNXFile.malformed("a field has the unknown kind \(key & 7)")
    }
  }

  /// The text of a field.
  func text(_ range: Range<Int>) throws(TemperError) -> String {
    guard let text = String(validating: bytes[range], as: UTF8.self) else {
      throw ONNXFile.malformed("a name is not UTF-8")
    }
    return text
  }

  /// A packed list of numbers.
  func integers() throws(TemperError) -> [Int] {
    var (reader, values): (ProtobufReader, [Int]) = (self, [])
    while reader.position < end { values.append(Int(truncatingIfNeeded: try reader.variable())) }
    return values
  }

  /// The texts of a message by field.
  func texts() throws(TemperError) -> [Int: String] {
    var (reader, texts): (ProtobufReader, [Int: String]) = (self, [:])
    while let field = try reader.next() {
      if let range = field.range { texts[field.number] = String(validating: bytes[range], as: UTF8.self) }
    }
    return texts
  }
}

extension ONNXType {
  /// Of one element; 0 for what no weights are.
  var bits: Int {
    switch self {
    case .uint4, .int4: 4
    case .uint8, .int8, .boolean: 8
    case .float16, .bfloat16: 16
    case .float, .int32: 32
    case .double, .int64: 64
    case .text: 0
    }
  }
}
