import TemperCore

/// A tensor that is to be written.
package struct GGUFOutput {
  package let name: String
  package let type: GGUFType
  package let shape: Shape
  /// Its numbers, asked for when their turn comes.
  let values: () throws(TemperError) -> GGUFNumbers

  /// Rows must be whole blocks of the type, and there are at most four dimensions.
  package init(
    _ name: String, _ type: GGUFType, _ shape: Shape, _ values: @escaping () throws(TemperError) -> GGUFNumbers
  ) throws(TemperError) {
    guard shape.rank <= GGUF.maximumRank else {
      throw TemperError(
        .invalidShape, "A tensor of a GGUF file has at most 4 dimensions; \"\(name)\" has the shape \(shape).")
    }
    guard type.byteCount(of: shape) != nil else {
      throw TemperError(
        .invalidShape,
        "\(type.name) stores blocks of \(type.block) neighbours; \"\(name)\" has rows of \(shape.last). Choose another type."
      )
    }
    (self.name, self.type, self.shape, self.values) = (name, type, shape, values)
  }
}

/// Numbers with what their blocks may be made of: for each group a scale and an offset to try beside the search.
package struct GGUFNumbers {
  package let tensor: Tensor
  package var scales: Tensor?
  package var offsets: Tensor?
  /// The tensor is bytes of the file already.
  let areBlocks: Bool

  package init(_ tensor: Tensor, scales: Tensor? = nil, offsets: Tensor? = nil, areBlocks: Bool = false) {
    (self.tensor, self.scales, self.offsets, self.areBlocks) = (tensor, scales, offsets, areBlocks)
  }
}

extension GGUF {
  /// Writes the file whole or not at all, one tensor after the other. `report` hears of each tensor once it is written.
  package static func write(
    to path: String, metadata: [(key: String, value: Value)], tensors: [GGUFOutput], workers: Workers,
    report: (GGUFOutput) throws(TemperError) -> Void = { _ in }
  ) throws(TemperError) {
    let header = try header(metadata, tensors)
    try File.replace(path) { (writer) throws(TemperError) in
      try writer.write(header)
      for output in tensors {
        let numbers = try output.values()
        do throws(TemperError) {
          try writer.write(
            numbers.areBlocks
              ? numbers.tensor
              : try output.type.encode(
                numbers.tensor, scales: numbers.scales, offsets: numbers.offsets, workers: workers))
        } catch { throw error.from(output.name) }
        let gap = padding(writer.count)
        if gap > 0 { try writer.write([UInt8](repeating: 0, count: gap)) }
        try report(output)
      }
    }
  }

  private static func padding(_ count: Int) -> Int { (alignment - count % alignment) % alignment }

  private static func header(
    _ metadata: [(key: String, value: Value)], _ tensors: [GGUFOutput]
  ) throws(TemperError) -> [UInt8] {
    var bytes = magic
    bytes.put(version, 4)
    bytes.put(tensors.count, 8)
    bytes.put(metadata.count, 8)
    var keys: Set<String> = []
    for (key, value) in metadata {
      guard keys.insert(key).inserted, key != alignmentKey else {
        throw TemperError(.invalidArgument, "The metadata \"\(key)\" comes twice, or is the file's own.")
      }
      bytes.put(key)
      bytes.put(value.type.rawValue, 4)
      try value.write(to: &bytes)
    }
    var names: Set<String> = []
    var offset = 0
    for output in tensors {
      guard names.insert(output.name).inserted else {
        throw TemperError(.invalidArgument, "Two tensors of a file cannot have the name \"\(output.name)\".")
      }
      bytes.put(output.name)
      bytes.put(output.shape.rank, 4)
      for size in output.shape.sizes.reversed() { bytes.put(size, 8) }
      bytes.put(output.type.number, 4)
      bytes.put(offset, 8)
      offset += output.type.byteCount(of: output.shape) ?? 0
      offset += padding(offset)
    }
    return bytes + [UInt8](repeating: 0, count: padding(bytes.count))
  }
}

extension GGUF.Value {
  /// The narrowest type that readers look for: 32 bits where they are enough.
  var type: GGUFValueType {
    switch self {
    case .boolean: .boolean
    case .integer(let value): Int32(exactly: value) == nil ? .int64 : .int32
    case .unsigned(let value): UInt32(exactly: value) == nil ? .uint64 : .uint32
    case .real(let value): Double(Float(value)) == value || value.isNaN ? .float32 : .float64
    case .text: .text
    case .array: .array
    }
  }

  func write(to bytes: inout [UInt8]) throws(TemperError) {
    switch self {
    case .boolean(let value): bytes.put(value ? 1 : 0, 1)
    case .integer(let value): bytes.put(value, type.byteCount)
    case .unsigned(let value): bytes.put(value, type.byteCount)
    case .real(let value):
      if type == .float32 { bytes.put(Float(value).bitPattern, 4) } else { bytes.put(value.bitPattern, 8) }
    case .text(let value): bytes.put(value)
    case .array(let values):
      let element = values.first?.type ?? .text
      guard values.allSatisfy({ $0.type == element }) else {
        throw TemperError(.invalidType, "The elements of a metadata array are of one type.")
      }
      bytes.put(element.rawValue, 4)
      bytes.put(values.count, 8)
      for value in values { try value.write(to: &bytes) }
    }
  }
}

extension [UInt8] {
  /// Little-endian.
  fileprivate mutating func put(_ value: some FixedWidthInteger, _ width: Int) {
    for byte in 0..<width { append(UInt8(truncatingIfNeeded: value >> (8 * byte))) }
  }

  fileprivate mutating func put(_ text: String) {
    put(text.utf8.count, 8)
    self += text.utf8
  }
}
