import TemperCatalogue
import TemperCore
import TemperNetworks

/// A quantized model's file: that of a float model without the packed weights, and for each of these its codes, scales
/// and zero points, described by the metadata "temper.quantization":
/// {"version": 1, "weights": {"0.weight": {"shape": [...], "bits": 4, "levels": "symmetric", "group_size": 64}, ...}}.
extension QuantizedModel {
  package static let metadataName = "temper.quantization"
  fileprivate static let formatVersion = 1

  /// The metadata of weights that are described so.
  static func described(_ weights: [JSON.Member]) -> String {
    JSON.object([JSON.Member("version", .integer(formatVersion)), JSON.Member("weights", .object(weights))]).serialized
  }

  /// Whether a file holds a quantized model.
  package static func isDescribed(by file: Safetensors) -> Bool { file.metadata[metadataName] != nil }

  package func fileContents(workers: Workers) throws(TemperError) -> Safetensors {
    var file = model.fileContents
    try file.add(weights, workers: workers)
    return file
  }

  /// The file appears whole or not at all.
  package func save(to path: String, workers: Workers) throws(TemperError) {
    try fileContents(workers: workers).write(to: path)
  }

  package convenience init(loading path: String, catalogue: Catalogue, workers: Workers) throws(TemperError) {
    let file = try Safetensors(reading: path)
    do throws(TemperError) {
      try self.init(restoring: file, catalogue: catalogue, workers: workers)
    } catch {
      throw error.from(path)
    }
  }

  /// Anything missing, left over or out of range is an error.
  package convenience init(
    restoring file: Safetensors, catalogue: Catalogue, workers: Workers
  ) throws(TemperError) {
    func malformed(_ what: String) -> TemperError {
      TemperError(.malformedFile, "The file's \"\(QuantizedModel.metadataName)\" \(what).")
    }
    guard let text = file.metadata[QuantizedModel.metadataName] else {
      throw TemperError(
        .malformedFile,
        "The file holds no quantized model: its metadata has no \"\(QuantizedModel.metadataName)\".")
    }
    let json = try JSON(parsing: text)
    guard case .integer(let version)? = json["version"] else { throw malformed("has no valid \"version\"") }
    guard version == QuantizedModel.formatVersion else {
      throw TemperError(
        .unsupported,
        "The file has the quantization format \(version); this version reads \(QuantizedModel.formatVersion).")
    }
    guard case .object(let members)? = json["weights"] else { throw malformed("has no valid \"weights\"") }
    let model = try Model(
      restoring: file, catalogue: catalogue, absent: Set(members.map(\.name)),
      isForeign: { name in
        members.contains { member in StoredWeight.suffixes.contains { member.name + $0 == name } }
      })
    var weights: [(name: String, matrix: QuantizedMatrix)] = []
    for member in members {
      weights.append((member.name, try QuantizedMatrix(stored: member.name, member.value, in: file, workers: workers)))
    }
    try self.init(model, weights)
  }
}

extension Safetensors {
  /// Adds quantized weights, with the metadata that describes them.
  mutating func add(_ weights: [(name: String, matrix: QuantizedMatrix)], workers: Workers) throws(TemperError) {
    metadata[QuantizedModel.metadataName] = QuantizedModel.described(
      weights.map { JSON.Member($0.name, $0.matrix.storedDescription) })
    for (name, matrix) in weights { tensors += try matrix.storedTensors(of: name, workers: workers) }
  }
}
