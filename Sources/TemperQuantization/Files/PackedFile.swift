import TemperCatalogue
import TemperCore
import TemperNetworks

/// A safetensors file with packed weights, of which one tensor or weight is in memory at a time.
struct PackedFile {
  let metadata: [String: String]
  private let file: ReadableFile
  private let entries: [SafetensorsListing.Entry]
  private let weights: [JSON.Member]

  init(_ path: String) throws(TemperError) {
    file = try ReadableFile(path)
    let listing = try SafetensorsListing(reading: file)
    (metadata, entries) = (listing.metadata, listing.entries)
    guard let text = metadata[QuantizedModel.metadataName],
      case .object(let members)? = try JSON(parsing: text)["weights"]
    else { throw TemperError(.malformedFile, "The file holds no packed weights.").from(path) }
    weights = members
  }

  /// What the file holds, in its order: names of weights, or of tensors as they are.
  enum Content {
    case weight(name: String, JSON)
    case tensor(SafetensorsListing.Entry)
  }

  var contents: [Content] {
    var byName: [String: JSON] = [:]
    for member in weights { byName[member.name] = member.value }
    var found: [Content] = []
    var taken: Set<String> = []
    for entry in entries {
      let owner = StoredWeight.suffixes.lazy.compactMap { suffix -> String? in
        guard entry.name.hasSuffix(suffix) else { return nil }
        let name = String(entry.name.dropLast(suffix.count))
        return byName[name] == nil ? nil : name
      }.first
      if let owner {
        if taken.insert(owner).inserted, let described = byName[owner] { found.append(.weight(name: owner, described)) }
      } else {
        found.append(.tensor(entry))
      }
    }
    return found
  }

  func tensor(_ entry: SafetensorsListing.Entry) throws(TemperError) -> Tensor {
    try entry.tensor(try file.read(entry.range))
  }

  func matrix(_ name: String, _ described: JSON, workers: Workers) throws(TemperError) -> QuantizedMatrix {
    var parts = Safetensors(metadata: [:])
    for entry in entries where StoredWeight.suffixes.contains(where: { name + $0 == entry.name }) {
      parts.tensors.append((entry.name, try tensor(entry)))
    }
    return try QuantizedMatrix(stored: name, described, in: parts, workers: workers)
  }
}

extension GGUF {
  /// Writes what a packed file holds, one tensor after the other; each weight in the type that holds its codes, or comes
  /// nearest to them.
  static func write(
    _ file: PackedFile, to path: String, catalogue: Catalogue, workers: Workers
  ) throws(TemperError) {
    let isModel = file.metadata[Model.metadataName] != nil
    var outputs: [GGUFOutput] = []
    var shapes: [JSON.Member] = []
    for content in file.contents {
      let made: GGUFOutput
      let shape: Shape
      switch content {
      case .tensor(let entry):
        shape = entry.shape
        let half = entry.typeName == "F16" || entry.typeName == "BF16"
        let type = half ? try GGUFType(named: entry.typeName) : try GGUFType(storing: entry)
        made = try GGUF.output(entry.name, shape, type) { (_, shape) throws(TemperError) in
          let numbers = try file.tensor(entry)
          return GGUFNumbers(try numbers.copy(as: type.copied ?? .float32).reshaped(shape))
        }
      case .weight(let name, let described):
        // Its type is known from its codes; they are read again when their turn comes.
        let matrix = try file.matrix(name, described, workers: workers)
        (shape, made) = (
          matrix.shape,
          try GGUF.output(name, matrix.shape, try matrix.ggufType()) { (type, _) throws(TemperError) in
            try file.matrix(name, described, workers: workers).ggufNumbers(type, workers: workers)
          }
        )
      }
      outputs.append(made)
      if made.shape != shape {
        guard isModel else {
          throw TemperError(
            .invalidShape, "\"\(made.name)\" has the shape \(shape), which a GGUF file of plain tensors cannot hold.")
        }
        shapes.append(JSON.Member(made.name, .array(shape.sizes.map { .integer($0) })))
      }
    }
    var metadata: [(key: String, value: Value)] = []
    if let model = file.metadata[Model.metadataName] { metadata = modelMetadata(model, shapes) }
    try write(to: path, metadata: metadata, tensors: outputs, workers: workers)
  }
}

extension GGUFType {
  /// The type for a tensor that is stored as it is.
  fileprivate init(storing entry: SafetensorsListing.Entry) throws(TemperError) {
    guard let dtype = entry.dtype, dtype != .bool, dtype != .uint8, dtype != .int8 else {
      throw TemperError(
        .invalidType, "\"\(entry.name)\": GGUF files hold floats, int32 and int64, not \(entry.typeName).")
    }
    self.init(of: dtype)
  }
}
