import TemperCatalogue
import TemperCore
import TemperNetworks

/// The state of an optimizer in a safetensors file: "step", then what `stateDictionary` names, with the method and its
/// settings as metadata. Later versions read what earlier ones wrote.
extension OptimizerInstance {
  private static let format = "temper optimizer 1"

  package func save(_ path: String) throws(TemperError) {
    let settings = arguments.values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.description)" }
    try Safetensors(
      metadata: [
        "format": OptimizerInstance.format, "optimizer": method.name, "settings": settings.joined(separator: ", "),
      ],
      tensors: [("step", try Tensor([Int64(step)], shape: []))] + stateDictionary
    ).write(to: path)
  }

  package func load(from path: String) throws(TemperError) {
    let file = try Safetensors(reading: path)
    do throws(TemperError) {
      guard file.metadata["format"] == OptimizerInstance.format else {
        throw TemperError(.malformedFile, "This file is no state of an optimizer that this version can read.")
      }
      guard file.metadata["optimizer"] == method.name else {
        throw TemperError(
          .invalidArgument,
          "The file holds the state of \(file.metadata["optimizer"] ?? "an unknown optimizer"), not of \(method.name).")
      }
      guard let step = file["step"], step.dtype == .int64, step.count == 1 else {
        throw TemperError(.malformedFile, "The file has no \"step\", one int64 number.")
      }
      try load(step: Int(try step.array(of: Int64.self)[0]), file.tensors.filter { $0.name != "step" })
    } catch { throw error.from(path) }
  }
}
