import TemperCatalogue
import TemperCore
import TemperNetworks

/// What a method keeps as a safetensors file, with a format, the method and its settings as metadata. Later versions read
/// what earlier ones wrote.
struct MethodState {
  let format: String
  /// The metadata's name for the method.
  let role: String
  /// In errors: "fit", "state of an optimizer".
  let what: String

  func write(
    _ tensors: [(name: String, tensor: Tensor)], of method: Method, _ arguments: Arguments, to path: String
  ) throws(TemperError) {
    let settings = arguments.values.inOrder { $0.key < $1.key }.map { "\($0.key)=\($0.value.description)" }
    try Safetensors(
      metadata: ["format": format, role: method.name, "settings": settings.joined(separator: ", ")], tensors: tensors
    ).write(to: path)
  }

  func read(
    _ path: String, for method: Method, _ use: (Safetensors) throws(TemperError) -> Void
  ) throws(TemperError) {
    let file = try Safetensors(reading: path)
    do throws(TemperError) {
      guard file.metadata["format"] == format else {
        throw TemperError(.malformedFile, "This file is no \(what) that this version can read.")
      }
      guard file.metadata[role] == method.name else {
        throw TemperError(
          .invalidArgument,
          "The file holds the \(what) of \(file.metadata[role] ?? "an unknown method"), not of \(method.name).")
      }
      try use(file)
    } catch { throw error.from(path) }
  }
}

extension ArrayInstance {
  private static let file = MethodState(format: "temper fit 1", role: "method", what: "fit")

  package func save(_ path: String) throws(TemperError) {
    let state = state
    guard !state.isEmpty else {
      throw TemperError(.wrongState, "There is nothing to save before a fit.", origin: method.name)
    }
    try ArrayInstance.file.write(state, of: method, arguments, to: path)
  }

  package func load(from path: String) throws(TemperError) {
    try ArrayInstance.file.read(path, for: method) { (file) throws(TemperError) in try restore(file.tensors) }
  }
}

/// "step", then what `stateDictionary` names.
extension OptimizerInstance {
  private static let file = MethodState(format: "temper optimizer 1", role: "optimizer", what: "state")

  package func save(_ path: String) throws(TemperError) {
    let step = try Tensor([Int64(step)], shape: [])
    try OptimizerInstance.file.write([("step", step)] + stateDictionary, of: method, arguments, to: path)
  }

  package func load(from path: String) throws(TemperError) {
    try OptimizerInstance.file.read(path, for: method) { (file) throws(TemperError) in
      guard let step = file["step"], step.dtype == .int64, step.count == 1 else {
        throw TemperError(.malformedFile, "The file has no \"step\", one int64 number.")
      }
      try load(step: Int(try step.array(of: Int64.self)[0]), file.tensors.filter { $0.name != "step" })
    }
  }
}
