import TemperCore

extension Safetensors {
  /// Writes the file whole or not at all.
  package func write(to path: String) throws(TemperError) {
    var offset = 0
    var entries: [Placed] = []
    for (name, tensor) in placed {
      entries.append(Placed(name, tensor, at: offset))
      offset += tensor.byteCount
    }
    let header = try Safetensors.header(metadata, entries)
    try File.replace(path) { (writer) throws(TemperError) in
      try writer.write(header)
      for (_, tensor) in placed { try writer.write(tensor) }
    }
  }

  /// Wider elements first, so that all are aligned; otherwise as they came.
  private var placed: [(name: String, tensor: Tensor)] {
    [8, 4, 1].flatMap { width in tensors.filter { $0.tensor.dtype.byteCount == width } }
  }

  /// A tensor as a header describes it; the range is in the data.
  package struct Placed {
    let name: String, typeName: String
    let shape: Shape
    let range: Range<Int>

    package init(_ name: String, _ tensor: Tensor, at offset: Int) {
      (self.name, typeName, shape) = (name, tensor.dtype.safetensorsName, tensor.shape)
      range = offset..<(offset + tensor.byteCount)
    }

    /// The same data at another place.
    package init(_ entry: SafetensorsListing.Entry, at offset: Int) {
      (name, typeName, shape) = (entry.name, entry.typeName, entry.shape)
      range = offset..<(offset + entry.byteCount)
    }
  }

  /// Length and header of `entries`, whose data lie one after the other; with spaces behind up to `byteCount`, a multiple
  /// of 64, or else to the next such multiple.
  package static func header(
    _ metadata: [String: String], _ entries: [Placed], byteCount: Int? = nil
  ) throws(TemperError) -> [UInt8] {
    var members: [JSON.Member] = []
    if !metadata.isEmpty {
      let texts = metadata.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .text($0.value)) }
      members.append(JSON.Member(Safetensors.metadataName, .object(texts)))
    }
    var names: Set<String> = [Safetensors.metadataName]
    for entry in entries {
      guard names.insert(entry.name).inserted else {
        throw TemperError(.invalidArgument, "Two tensors of a file cannot have the name \"\(entry.name)\".")
      }
      members.append(
        JSON.Member(
          entry.name,
          .object([
            JSON.Member("dtype", .text(entry.typeName)),
            JSON.Member("shape", .array(entry.shape.sizes.map { .integer($0) })),
            JSON.Member("data_offsets", .array([.integer(entry.range.lowerBound), .integer(entry.range.upperBound)])),
          ])))
    }
    var text = Array(JSON.object(members).serialized.utf8)
    // Spaces after the header let the data begin at a multiple of 64 bytes.
    let end = byteCount ?? (8 + text.count + 63) / 64 * 64
    guard end - 8 <= Safetensors.maximumHeader, 8 + text.count <= end else {
      throw TemperError(.invalidArgument, "The header of the file would have more than \(min(end, 100_000_000)) bytes.")
    }
    text += [UInt8](repeating: 0x20, count: end - 8 - text.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text
  }
}

extension DType {
  var safetensorsName: String {
    switch self {
    case .float32: "F32"
    case .float64: "F64"
    case .int32: "I32"
    case .int64: "I64"
    case .uint8: "U8"
    case .bool: "BOOL"
    case .int8: "I8"
    }
  }
}
