import TemperCore

/// Named tensors and texts in one file, in the safetensors format.
///
/// Eight bytes of header length (little-endian), a JSON header {name: {"dtype", "shape", "data_offsets": [begin, end]},
/// "__metadata__": {name: text}}, and the data without gaps (huggingface/safetensors, format of 2022).
package struct Safetensors: Sendable {
  package var metadata: [String: String]
  /// In the order of their data.
  package var tensors: [(name: String, tensor: Tensor)]

  package init(metadata: [String: String] = [:], tensors: [(name: String, tensor: Tensor)] = []) {
    (self.metadata, self.tensors) = (metadata, tensors)
  }

  package subscript(name: String) -> Tensor? { tensors.first { $0.name == name }?.tensor }

  static let metadataName = "__metadata__"
  /// What the format's reference implementation allows too.
  static let maximumHeader = 100_000_000
}
