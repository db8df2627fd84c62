import TemperCore
import TemperNetworks

/// A file of named tensors and metadata, in one of the formats that are read. Data is read when it is asked for.
package enum TensorFile: Sendable {
  case gguf(GGUF)
  case safetensors(SafetensorsListing, ReadableFile)
  case onnx(ONNXFile)

  package init(reading path: String) throws(TemperError) {
    let file = try ReadableFile(path)
    if try GGUF.begins(file) {
      self = .gguf(try GGUF(reading: file))
    } else if path.hasSuffix(".onnx") {
      self = .onnx(try ONNXFile(reading: file))
    } else {
      self = .safetensors(try SafetensorsListing(reading: file), file)
    }
  }

  /// Name, type, shape and bytes of each tensor.
  private var rows: [(name: String, type: String, shape: Shape, byteCount: Int)] {
    switch self {
    case .gguf(let file): file.tensors.map { ($0.name, $0.type.name, $0.shape, $0.byteCount) }
    case .safetensors(let listing, _): listing.entries.map { ($0.name, $0.typeName, $0.shape, $0.byteCount) }
    case .onnx(let file): file.tensors.map { ($0.name, $0.typeName, $0.shape, $0.byteCount) }
    }
  }

  /// {"format": …, "metadata": {…}, "tensors": [{"name", "type", "shape", "byte_count"}, …]}
  package var json: JSON {
    let (format, metadata): (String, [JSON.Member]) =
      switch self {
      case .gguf(let file): ("gguf", file.metadata.map { JSON.Member($0.key, $0.value.json) })
      case .onnx(let file): ("onnx", file.metadata.map { JSON.Member($0.key, .text($0.value)) })
      case .safetensors(let listing, _):
        ("safetensors", listing.metadata.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .text($0.value)) })
      }
    let tensors = rows.map { row -> JSON in
      .object([
        JSON.Member("name", .text(row.name)), JSON.Member("type", .text(row.type)),
        JSON.Member("shape", .array(row.shape.sizes.map { .integer($0) })),
        JSON.Member("byte_count", .integer(row.byteCount)),
      ])
    }
    return .object([
      JSON.Member("format", .text(format)), JSON.Member("metadata", .object(metadata)),
      JSON.Member("tensors", .array(tensors)),
    ])
  }

  /// A line for each tensor.
  package var table: String {
    rows.reduce("") { $0 + "\($1.name)  \($1.type)  \($1.shape)  \($1.byteCount) bytes\n" }
  }

  /// Of this name, decoded, in memory of its own.
  package func tensor(_ name: String, workers: Workers) throws(TemperError) -> Tensor {
    switch self {
    case .gguf(let file):
      if let entry = file.tensors.first(where: { $0.name == name }) { return try file.tensor(entry, workers: workers) }
    case .safetensors(let listing, let file):
      if let entry = listing.entries.first(where: { $0.name == name }) {
        return try entry.tensor(try file.read(entry.range))
      }
    case .onnx(let file):
      if let entry = file.tensors.first(where: { $0.name == name }) { return try file.tensor(entry, workers: workers) }
    }
    let names = rows.prefix(20).map(\.name).joined(separator: ", ")
    throw TemperError(
      .unknownName, "The file has no tensor \"\(name)\"; it has \(names)\(rows.count > 20 ? ", …" : "").")
  }
}

/// A tensor that goes into a file: as it is, or as a quantized matrix.
package struct StoredTensor {
  package enum Content {
    case numbers(Tensor)
    case quantized(QuantizedMatrix)
  }

  let name: String
  let content: Content
  /// Of a GGUF file; nil for what suits the content.
  let type: GGUFType?

  package init(_ name: String, _ content: Content, type: GGUFType? = nil) {
    (self.name, self.content, self.type) = (name, content, type)
  }

  /// Whether a path is that of a GGUF file.
  package static func isGGUF(_ path: String) -> Bool { path.hasSuffix(".gguf") }

  /// Writes a GGUF file, or a safetensors file where the path does not end in ".gguf".
  package static func write(
    _ tensors: [StoredTensor], metadata: [(key: String, value: GGUF.Value)], to path: String, workers: Workers
  ) throws(TemperError) {
    if isGGUF(path) {
      var outputs: [GGUFOutput] = []
      for tensor in tensors { outputs.append(try tensor.output(workers: workers)) }
      return try GGUF.write(to: path, metadata: metadata, tensors: outputs, workers: workers)
    }
    var file = Safetensors()
    for (key, value) in metadata {
      guard case .text(let text) = value else {
        throw TemperError(.invalidType, "The metadata of safetensors files are texts; \"\(key)\" is none.")
      }
      file.metadata[key] = text
    }
    var weights: [(name: String, matrix: QuantizedMatrix)] = []
    for tensor in tensors {
      guard tensor.type == nil else {
        throw TemperError(.unsupported, "\"\(tensor.name)\": types are for GGUF files, whose names end in .gguf.")
      }
      switch tensor.content {
      case .numbers(let numbers): file.tensors.append((tensor.name, numbers))
      case .quantized(let matrix): weights.append((tensor.name, matrix))
      }
    }
    if !weights.isEmpty { try file.add(weights, workers: workers) }
    try file.write(to: path)
  }

  private func output(workers: Workers) throws(TemperError) -> GGUFOutput {
    switch content {
    case .numbers(let tensor):
      guard tensor.dtype != .bool, tensor.dtype != .uint8 else {
        throw TemperError(
          .invalidType, "\"\(name)\": GGUF files hold floats, int32 and int64, not \(tensor.dtype.name).")
      }
      let type = type ?? GGUFType(of: tensor.dtype)
      guard (type.copied ?? .float32).isFloating == tensor.dtype.isFloating else {
        throw TemperError(.invalidType, "\"\(name)\" holds \(tensor.dtype.name), which \(type.name) does not.")
      }
      return try GGUFOutput(name, type, tensor.shape) { () throws(TemperError) in
        GGUFNumbers(try tensor.copy(as: type.copied ?? .float32))
      }
    case .quantized(let matrix):
      var type = try matrix.ggufType()
      type = try GGUF.fallback(for: type, columns: matrix.shape.last)
      if let given = self.type { type = given }
      let chosen = type
      return try GGUFOutput(name, chosen, matrix.shape) { () throws(TemperError) in
        try matrix.ggufNumbers(chosen, workers: workers)
      }
    }
  }
}
