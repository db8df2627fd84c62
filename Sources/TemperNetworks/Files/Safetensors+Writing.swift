import TemperCore

extension Safetensors {
  /// Writes the file whole or not at all.
  package func write(to path: String) throws(TemperError) {
    let header = try header()
    try File.replace(path) { (writer) throws(TemperError) in
      try writer.write(header)
      for (_, tensor) in placed { try writer.write(tensor) }
    }
  }

  /// Wider elements first, so that all are aligned; otherwise as they came.
  private var placed: [(name: String, tensor: Tensor)] {
    [8, 4, 1].flatMap { width in tensors.filter { $0.tensor.dtype.byteCount == width } }
  }

  private func header() throws(TemperError) -> [UInt8] {
    var members: [JSON.Member] = []
    if !metadata.isEmpty {
      let texts = metadata.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .text($0.value)) }
      members.append(JSON.Member(Safetensors.metadataName, .object(texts)))
    }
    var names: Set<String> = [Safetensors.metadataName]
    var offset = 0
    for (name, tensor) in placed {
      guard names.insert(name).inserted else {
        throw TemperError(.invalidArgument, "Two tensors of a file cannot have the name \"\(name)\".")
      }
      let end = offset + tensor.byteCount
      members.append(
        JSON.Member(
          name,
          .object([
            JSON.Member("dtype", .text(tensor.dtype.safetensorsName)),
            JSON.Member("shape", .array(tensor.shape.sizes.map { .integer($0) })),
            JSON.Member("data_offsets", .array([.integer(offset), .integer(end)])),
          ])))
      offset = end
    }
    var text = Array(JSON.object(members).serialized.utf8)
    // Spaces after the header let the data begin at a multiple of 64 bytes.
    text += [UInt8](repeating: 0x20, count: (64 - (8 + text.count) % 64) % 64)
    guard text.count <= Safetensors.maximumHeader else {
      throw TemperError(.invalidArgument, "The header of the file would have more than 100,000,000 bytes.")
    }
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
