import TemperCatalogue
import TemperCore
import TemperGraph

/// A model's file: a safetensors file whose metadata "temper.model" says how to build it:
/// {"version": 1, "layers": [...], "input": [...], "dtype": "float32"}.
extension Model {
  package static let metadataName = "temper.model"
  private static let formatVersion = 1

  /// Architecture and shapes as the file's metadata.
  package var fileMetadata: String {
    JSON.object([
      JSON.Member("version", .integer(Model.formatVersion)),
      JSON.Member("layers", .array(description.layers)),
      JSON.Member("input", .array(input.shape.sizes.map { .integer($0) })),
      JSON.Member("dtype", .text(dtype.name)),
    ]).serialized
  }

  /// Everything that the model holds: parameters (without absent ones), then buffers.
  package var fileContents: Safetensors {
    Safetensors(
      metadata: [Model.metadataName: fileMetadata],
      tensors: (parameters + buffers).compactMap { variable in variable.tensor.map { (variable.name, $0) } })
  }

  package func save(to path: String) throws(TemperError) {
    guard parameters.allSatisfy({ !$0.isAbsent }) else {
      throw TemperError(.wrongState, "A model whose weights are packed is saved by what packed them.")
    }
    try fileContents.write(to: path)
  }

  package convenience init(loading path: String, catalogue: Catalogue) throws(TemperError) {
    let file = try Safetensors(reading: path)
    do throws(TemperError) {
      try self.init(restoring: file, catalogue: catalogue)
    } catch {
      throw error.from(path)
    }
  }

  /// Builds the model that a file describes and fills it. Parameters named in `absent` are not looked for; tensors for
  /// which `isForeign` holds belong to another room. Anything else missing or left over is an error.
  package convenience init(
    restoring file: Safetensors, catalogue: Catalogue, absent: Set<String> = [],
    isForeign: (String) -> Bool = { _ in false }
  ) throws(TemperError) {
    guard let text = file.metadata[Model.metadataName] else {
      throw TemperError(
        .malformedFile, "The file holds no Temper model: its metadata has no \"\(Model.metadataName)\".")
    }
    let (description, input, dtype) = try Model.described(text)
    let own = file.tensors.filter { !isForeign($0.name) }
    try self.init(
      unfilled: description, input: input, dtype: dtype, catalogue: catalogue, absent: absent, for: own)
    try restore(own)
  }

  /// The model, not yet filled, that a file's metadata describes.
  package convenience init(described text: String, catalogue: Catalogue) throws(TemperError) {
    let (description, input, dtype) = try Model.described(text)
    try self.init(unfilled: description, input: input, dtype: dtype, catalogue: catalogue, absent: [])
  }

  private static func described(_ text: String) throws(TemperError) -> (Description, Shape, DType) {
    let json = try JSON(parsing: text)
    guard case .integer(let version)? = json["version"] else { throw Model.malformed("version") }
    guard version == Model.formatVersion else {
      throw TemperError(
        .unsupported, "The file has the model format \(version); this version reads \(Model.formatVersion).")
    }
    guard case .array(let layers)? = json["layers"] else { throw Model.malformed("layers") }
    guard case .array(let extents)? = json["input"] else { throw Model.malformed("input") }
    guard case .text(let typeName)? = json["dtype"], let dtype = DType.allCases.first(where: { $0.name == typeName })
    else { throw Model.malformed("dtype") }
    var sizes: [Int] = []
    for extent in extents {
      guard case .integer(let size) = extent else { throw Model.malformed("input") }
      sizes.append(size)
    }
    return (Description(layers), Shape(sizes), dtype)
  }

  private static func malformed(_ field: String) -> TemperError {
    TemperError(
      .malformedFile, "The file's \"\(metadataName)\" has no valid \"\(field)\".")
  }

  /// Fills every parameter and buffer; names and shapes must match one to one.
  package func restore(_ tensors: [(name: String, tensor: Tensor)]) throws(TemperError) {
    let own = (parameters + buffers).filter { !$0.isAbsent }
    // Only when all are there: a model is changed whole or not at all.
    for (variable, tensor) in zip(own, try Model.match(tensors, own)) { try variable.tensor?.assign(from: tensor) }
  }

  /// The tensor of each variable; one that is missing, left over or of another shape is an error.
  static func match(
    _ tensors: [(name: String, tensor: Tensor)], _ variables: [Variable]
  ) throws(TemperError) -> [Tensor] {
    var given: [String: Tensor] = [:]
    for (name, tensor) in tensors { given[name] = tensor }
    var matched: [Tensor] = []
    for variable in variables {
      guard let tensor = given.removeValue(forKey: variable.name) else {
        throw TemperError(.malformedFile, "The file holds no \"\(variable.name)\", which the model needs.")
      }
      guard tensor.shape == variable.shape, tensor.dtype.isFloating else {
        throw TemperError(
          .malformedFile,
          "\"\(variable.name)\" has the shape \(variable.shape) in the model, and is \(tensor.dtype.name) of shape \(tensor.shape) in the file."
        )
      }
      matched.append(tensor)
    }
    if let name = given.keys.min() {
      throw TemperError(.malformedFile, "The file holds \"\(name)\", which the model does not have.")
    }
    return matched
  }
}
