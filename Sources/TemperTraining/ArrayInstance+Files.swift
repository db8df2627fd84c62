import TemperCatalogue
import TemperCore
import TemperNetworks

/// What a method over arrays keeps of a fit in a safetensors file, with the method and its settings as metadata. Later
/// versions read what earlier ones wrote.
extension ArrayInstance {
  private static let format = "temper fit 1"

  package func save(_ path: String) throws(TemperError) {
    let state = state
    guard !state.isEmpty else {
      throw TemperError(.wrongState, "There is nothing to save before a fit.", origin: method.name)
    }
    let settings = arguments.values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.description)" }
    try Safetensors(
      metadata: [
        "format": ArrayInstance.format, "method": method.name, "settings": settings.joined(separator: ", "),
      ], tensors: state
    ).write(to: path)
  }

  package func load(from path: String) throws(TemperError) {
    let file = try Safetensors(reading: path)
    do throws(TemperError) {
      guard file.metadata["format"] == ArrayInstance.format else {
        throw TemperError(.malformedFile, "This file holds no fit that this version can read.")
      }
      guard file.metadata["method"] == method.name else {
        throw TemperError(
          .invalidArgument,
          "The file holds a fit of \(file.metadata["method"] ?? "an unknown method"), not of \(method.name).")
      }
      try restore(file.tensors)
    } catch { throw error.from(path) }
  }
}
