import TemperCore

extension GGUF {
  static func malformed(_ what: String) -> TemperError {
    TemperError(.malformedFile, "This is not a valid GGUF file: \(what).")
  }

  /// Whether a file begins as one.
  package static func begins(_ file: ReadableFile) throws(TemperError) -> Bool {
    guard file.byteCount >= magic.count else { return false }
    return try file.read(0..<magic.count).array(of: UInt8.self) == magic
  }

  /// Reads everything but the tensors' data. Whatever deviates from the format is an error.
  package init(reading path: String) throws(TemperError) { try self.init(reading: try ReadableFile(path)) }

  package init(reading file: ReadableFile) throws(TemperError) {
    do throws(TemperError) { try self.init(parsing: file) } catch { throw error.from(file.path) }
  }

  private init(parsing file: ReadableFile) throws(TemperError) {
    var cursor = GGUFCursor(file)
    guard try cursor.bytes(4, "its first four bytes") == GGUF.magic else {
      throw GGUF.malformed("it does not begin with the letters GGUF")
    }
    let version = UInt32(truncatingIfNeeded: try cursor.unsigned(4))
    guard version == 2 || version == 3 else {
      let isSwapped = version.byteSwapped == 2 || version.byteSwapped == 3
      throw TemperError(
        .unsupported,
        isSwapped
          ? "The file is big-endian; little-endian GGUF files are read."
          : "The file has the GGUF version \(version); versions 2 and 3 are read.")
    }
    // A tensor takes at least 24 bytes of the header, a metadata value 13.
    let tensorCount = try cursor.count(atLeast: 24, "tensors")
    let valueCount = try cursor.count(atLeast: 13, "metadata values")
    var metadata: [(key: String, value: Value)] = []
    var keys: Set<String> = []
    for _ in 0..<valueCount {
      let key = try cursor.text("a metadata key")
      guard keys.insert(key).inserted else { throw GGUF.malformed("the metadata \"\(key)\" comes twice") }
      metadata.append((key, try cursor.value(of: try cursor.valueType(key), key, depth: 0)))
    }
    var alignment = GGUF.alignment
    if let value = metadata.first(where: { $0.key == GGUF.alignmentKey })?.value {
      guard case .unsigned(let given) = value, given.nonzeroBitCount == 1, given <= 1 << 20 else {
        throw GGUF.malformed("its alignment \(value.json.serialized) is not a power of two")
      }
      alignment = Int(given)
    }
    var described: [GGUFTensorInfo] = []
    var names: Set<String> = []
    for _ in 0..<tensorCount {
      let info = try cursor.tensorInfo()
      guard names.insert(info.name).inserted else { throw GGUF.malformed("two tensors are called \"\(info.name)\"") }
      described.append(info)
    }
    let start = (cursor.position + alignment - 1) / alignment * alignment
    var tensors: [Entry] = []
    for info in described { tensors.append(try info.entry(from: start, alignment: alignment, end: file.byteCount)) }
    let placed = tensors.filter { !$0.range.isEmpty }.sorted {
      ($0.range.lowerBound, $0.name) < ($1.range.lowerBound, $1.name)
    }
    for (before, after) in zip(placed, placed.dropFirst()) where before.range.upperBound > after.range.lowerBound {
      throw GGUF.malformed("the data of \"\(before.name)\" and of \"\(after.name)\" overlap")
    }
    (self.metadata, self.tensors, self.file) = (metadata, tensors, file)
  }
}

/// One tensor as the header describes it.
private struct GGUFTensorInfo {
  let name: String
  let sizes: [UInt]
  let type: UInt32
  let offset: UInt

  func entry(from start: Int, alignment: Int, end: Int) throws(TemperError) -> GGUF.Entry {
    func malformed(_ what: String) -> TemperError { GGUF.malformed("the tensor \"\(name)\" \(what)") }
    guard let type = GGUFType.find(number: Int(type)) else {
      let known = GGUFType.all.map { "\($0.name) (\($0.number))" }.joined(separator: ", ")
      throw TemperError(
        .unsupported, "The tensor \"\(name)\" has the type \(self.type); the types read are \(known).")
    }
    var extents: [Int] = []
    for size in sizes.reversed() {
      guard let extent = Int(exactly: size) else { throw malformed("has the size \(size)") }
      extents.append(extent)
    }
    let shape: Shape
    do throws(TemperError) { shape = try Shape(validating: extents) } catch {
      throw malformed("has no possible shape: " + error.message)
    }
    guard let byteCount = type.byteCount(of: shape) else {
      throw malformed("has rows of \(shape.last), which are no whole blocks of \(type.block) (\(type.name))")
    }
    guard let offset = Int(exactly: offset), offset % alignment == 0, offset <= end, start <= end - offset,
      byteCount <= end - offset - start
    else {
      throw malformed("has \(byteCount) bytes from offset \(self.offset) on; \(max(0, end - start)) follow the header")
    }
    return GGUF.Entry(name: name, type: type, shape: shape, range: (start + offset)..<(start + offset + byteCount))
  }
}

/// Reads a header from front to back, a window of the file at a time.
private struct GGUFCursor {
  private static let window = 1 << 16
  /// A text longer than this is no key, name or description.
  private static let longestText = 1 << 26
  private static let deepestArray = 4

  private let file: ReadableFile
  private var held: [UInt8] = []
  private var heldFrom = 0
  private(set) var position = 0

  init(_ file: ReadableFile) { self.file = file }

  private var remaining: Int { file.byteCount - position }

  mutating func bytes(_ count: Int, _ what: String) throws(TemperError) -> [UInt8] {
    guard count <= remaining else { throw GGUF.malformed("it ends within \(what)") }
    if position + count > heldFrom + held.count {
      let end = position + min(max(count, GGUFCursor.window), remaining)
      held = try file.read(position..<end).array(of: UInt8.self)
      heldFrom = position
    }
    defer { position += count }
    return Array(held[(position - heldFrom)..<(position - heldFrom + count)])
  }

  mutating func unsigned(_ width: Int) throws(TemperError) -> UInt {
    try bytes(width, "a number").reversed().reduce(0) { $0 << 8 | UInt($1) }
  }

  /// A number of things that each take at least so many bytes of what follows.
  mutating func count(atLeast size: Int, _ what: String) throws(TemperError) -> Int {
    let count = try unsigned(8)
    guard count <= UInt(remaining / size) else {
      throw GGUF.malformed("it is said to have \(count) \(what), and \(remaining) bytes follow")
    }
    return Int(count)
  }

  mutating func text(_ what: String) throws(TemperError) -> String {
    let length = try count(atLeast: 1, "bytes of " + what)
    guard length <= GGUFCursor.longestText else { throw GGUF.malformed("\(what) has \(length) bytes") }
    guard let text = String(validating: try bytes(length, what), as: UTF8.self) else {
      throw GGUF.malformed("\(what) is not UTF-8")
    }
    return text
  }

  mutating func valueType(_ key: String) throws(TemperError) -> GGUFValueType {
    let number = UInt32(truncatingIfNeeded: try unsigned(4))
    guard let type = GGUFValueType(rawValue: number) else {
      throw GGUF.malformed("the metadata \"\(key)\" has the unknown type \(number)")
    }
    return type
  }

  mutating func value(of type: GGUFValueType, _ key: String, depth: Int) throws(TemperError) -> GGUF.Value {
    switch type {
    case .uint8, .uint16, .uint32, .uint64: return .unsigned(try unsigned(type.byteCount))
    case .int8: return .integer(Int(Int8(truncatingIfNeeded: try unsigned(1))))
    case .int16: return .integer(Int(Int16(truncatingIfNeeded: try unsigned(2))))
    case .int32: return .integer(Int(Int32(truncatingIfNeeded: try unsigned(4))))
    case .int64: return .integer(Int(truncatingIfNeeded: try unsigned(8)))
    case .float32: return .real(Double(Float(bitPattern: UInt32(truncatingIfNeeded: try unsigned(4)))))
    case .float64: return .real(Double(bitPattern: UInt64(try unsigned(8))))
    case .boolean:
      let byte = try unsigned(1)
      guard byte <= 1 else { throw GGUF.malformed("the truth value \"\(key)\" is \(byte)") }
      return .boolean(byte == 1)
    case .text: return .text(try text("the metadata \"\(key)\""))
    case .array:
      guard depth < GGUFCursor.deepestArray else { throw GGUF.malformed("\"\(key)\" nests arrays too deeply") }
      let element = try valueType(key)
      let count = try count(atLeast: element.byteCount, "elements of \"\(key)\"")
      var values: [GGUF.Value] = []
      for _ in 0..<count { values.append(try value(of: element, key, depth: depth + 1)) }
      return .array(values)
    }
  }

  mutating func tensorInfo() throws(TemperError) -> GGUFTensorInfo {
    let name = try text("the name of a tensor")
    let rank = try unsigned(4)
    guard rank <= UInt(GGUF.maximumRank) else {
      throw GGUF.malformed("the tensor \"\(name)\" has \(rank) dimensions; there are at most \(GGUF.maximumRank)")
    }
    var sizes: [UInt] = []
    for _ in 0..<rank { sizes.append(try unsigned(8)) }
    let type = UInt32(truncatingIfNeeded: try unsigned(4))
    return GGUFTensorInfo(name: name, sizes: sizes, type: type, offset: try unsigned(8))
  }
}
