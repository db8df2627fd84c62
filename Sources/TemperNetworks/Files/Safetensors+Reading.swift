import TemperCatalogue
import TemperCore

extension Safetensors {
  /// Reads a file. Half-precision floats (F16, BF16) become float32. Whatever deviates from the format is an error.
  package init(reading path: String) throws(TemperError) {
    do throws(TemperError) {
      try self.init(parsing: try File.read(path))
    } catch {
      throw error.from(path)
    }
  }

  /// `file` is dense uint8; tensors are views of it where their type and place allow.
  package init(parsing file: Tensor) throws(TemperError) {
    let listing = try SafetensorsListing(byteCount: file.count) { range throws(TemperError) in try file.slice(range) }
    metadata = listing.metadata
    tensors = []
    for entry in listing.entries { tensors.append((entry.name, try entry.tensor(try file.slice(entry.range)))) }
  }

  static func malformed(_ what: String) -> TemperError {
    TemperError(.malformedFile, "This is not a valid safetensors file: \(what).")
  }
}

/// What a safetensors file holds, without its data.
package struct SafetensorsListing: Sendable {
  package let metadata: [String: String]
  /// In the order of their data.
  package let entries: [Entry]

  package init(reading file: ReadableFile) throws(TemperError) {
    do throws(TemperError) {
      try self.init(byteCount: file.byteCount) { range throws(TemperError) in try file.read(range) }
    } catch { throw error.from(file.path) }
  }

  /// `read`: bytes of the file, dense uint8.
  fileprivate init(
    byteCount: Int, _ read: (Range<Int>) throws(TemperError) -> Tensor
  ) throws(TemperError) {
    guard byteCount >= 8 else { throw Safetensors.malformed("it has \(byteCount) bytes and needs at least 8") }
    let lengthBytes = try read(0..<8).array(of: UInt8.self)
    let length = lengthBytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard length <= UInt64(Safetensors.maximumHeader), Int(length) <= byteCount - 8 else {
      throw Safetensors.malformed("the header is said to have \(length) bytes; \(byteCount - 8) follow")
    }
    let start = 8 + Int(length)
    let json: JSON
    do throws(TemperError) {
      json = try JSON(parsing: try read(8..<start).array(of: UInt8.self), maximumDepth: 4)
    } catch {
      throw Safetensors.malformed("its header is not valid: " + error.message)
    }
    guard case .object(let members) = json else { throw Safetensors.malformed("its header is not an object") }
    var metadata: [String: String] = [:]
    var entries: [Entry] = []
    for member in members {
      if member.name == Safetensors.metadataName {
        guard case .object(let texts) = member.value else {
          throw Safetensors.malformed("its metadata is not an object of texts")
        }
        for text in texts {
          guard case .text(let value) = text.value else {
            throw Safetensors.malformed("the metadata \"\(text.name)\" is not a text")
          }
          metadata[text.name] = value
        }
      } else {
        entries.append(try Entry(member))
      }
    }
    // Ranges must follow each other without gap or overlap and fill the rest of the file.
    entries.sort { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
    var expected = 0
    for (index, entry) in entries.enumerated() {
      guard entry.range.lowerBound == expected else {
        throw Safetensors.malformed(
          "the data of \"\(entry.name)\" begins at byte \(entry.range.lowerBound), and byte \(expected) comes next")
      }
      expected = entry.range.upperBound
      entries[index].range = (start + entry.range.lowerBound)..<(start + expected)
    }
    guard expected == byteCount - start else {
      throw Safetensors.malformed("its tensors take \(expected) bytes; \(byteCount - start) follow the header")
    }
    (self.metadata, self.entries) = (metadata, entries)
  }
}

extension SafetensorsListing {
  /// One tensor as the header describes it.
  package struct Entry: Sendable {
    package let name: String
    fileprivate let type: StoredType
    package let shape: Shape
    /// In the file.
    package fileprivate(set) var range: Range<Int>

    package var typeName: String { type.rawValue }
    /// nil for floats of half precision.
    package var dtype: DType? { type.dtype }
    package var byteCount: Int { range.count }
    /// Whether `tensor` gives float32 or float64.
    package var isFloating: Bool { type.dtype?.isFloating ?? true }
  }
}

extension SafetensorsListing.Entry {
  fileprivate init(_ member: JSON.Member) throws(TemperError) {
    name = member.name
    func malformed(_ what: String) -> TemperError { Safetensors.malformed("the tensor \"\(member.name)\" \(what)") }
    guard case .object(let fields) = member.value,
      Set(fields.map(\.name)) == ["dtype", "shape", "data_offsets"],
      case .text(let typeName)? = member.value["dtype"],
      case .array(let sizes)? = member.value["shape"],
      case .array(let offsets)? = member.value["data_offsets"], offsets.count == 2,
      case .integer(let begin) = offsets[0], case .integer(let end) = offsets[1]
    else { throw malformed("has not exactly the fields dtype, shape and data_offsets (two whole numbers)") }
    guard let type = StoredType(rawValue: typeName) else {
      let known = StoredType.allCases.map(\.rawValue).joined(separator: ", ")
      throw TemperError(
        .unsupported, "The tensor \"\(member.name)\" has the type \(typeName); the types read are \(known).")
    }
    var extents: [Int] = []
    for size in sizes {
      guard case .integer(let extent) = size else { throw malformed("has a shape that is not whole numbers") }
      extents.append(extent)
    }
    do throws(TemperError) {
      shape = try Shape(validating: extents)
    } catch {
      throw malformed("has no possible shape: " + error.message)
    }
    guard begin >= 0, end >= begin, end - begin == shape.count * type.byteCount else {
      throw malformed(
        "of shape \(shape) and type \(typeName) needs \(shape.count * type.byteCount) bytes; its range is \(begin) to \(end)"
      )
    }
    (self.type, range) = (type, begin..<end)
  }

  /// What these bytes of the file hold.
  package func tensor(_ data: Tensor) throws(TemperError) -> Tensor {
    if let dtype = type.dtype {
      let isAligned = data.byteOffset % dtype.byteCount == 0
      let bytes = isAligned ? data : try data.copy()
      if dtype == .bool, let wrong = try bytes.firstOutside(2) {
        throw Safetensors.malformed("the tensor \"\(name)\" of type BOOL holds the byte \(wrong.value)")
      }
      return try Tensor(
        storage: bytes.storage, byteOffset: bytes.byteOffset, dtype: dtype, shape: shape, strides: shape.denseStrides)
    }
    return try Tensor(type == .bfloat16 ? .bfloat16 : .float16, bytes: data, shape: shape)
  }
}

/// The types of the format that are read.
private enum StoredType: String, CaseIterable {
  case float32 = "F32"
  case float64 = "F64"
  case int32 = "I32"
  case int64 = "I64"
  case uint8 = "U8"
  case bool = "BOOL"
  case int8 = "I8"
  case float16 = "F16"
  case bfloat16 = "BF16"

  var byteCount: Int { dtype?.byteCount ?? 2 }

  /// nil: converted to float32.
  var dtype: DType? {
    switch self {
    case .float32: .float32
    case .float64: .float64
    case .int32: .int32
    case .int64: .int64
    case .uint8: .uint8
    case .bool: .bool
    case .int8: .int8
    case .float16, .bfloat16: nil
    }
  }
}
