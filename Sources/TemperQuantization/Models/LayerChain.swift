import TemperCore
import TemperNetworks

/// The layers of a model one after the other, as far as they stand at the top of its description.
struct LayerChain {
  let names: [String]
  private let settings: [JSON]

  init(_ model: Model) throws(TemperError) {
    var (names, settings): ([String], [JSON]) = ([], [])
    for (index, layer) in model.description.layers.enumerated() {
      switch try DescriptionEntry(layer, at: String(index)) {
      case .layer(let name, let setting):
        names.append(name)
        settings.append(setting)
      case .sequence:
        names.append("")
        settings.append(.null)
      }
    }
    (self.names, self.settings) = (names, settings)
  }

  private static let products: Set<String> = ["dense", "conv2d"]

  /// Layers i and j with weights and nothing between them but what lets positive factors of channels pass.
  func positiveNeighbours() -> [(first: Int, second: Int)] {
    let passing: Set<String> = ["relu", "leaky_relu", "dropout", "identity", "max_pool2d", "avg_pool2d"]
    var pairs: [(Int, Int)] = []
    var first: Int?
    for (index, name) in names.enumerated() {
      if LayerChain.products.contains(name) {
        if let first { pairs.append((first, index)) }
        first = index
      } else if name == "flatten" {
        // Of images, channels come first in what is flattened.
        if let known = first, names[known] != "conv2d" { first = nil }
      } else if !passing.contains(name) {
        first = nil
      }
    }
    return pairs
  }

  /// Layers of normalization by batch over the first axis, whether the layer before is one with weights, and what is
  /// added to variances.
  func batchNorms() -> [(index: Int, follows: Bool, epsilon: Double)] {
    names.indices.filter { names[$0] == "batch_norm" && $0 > 0 && settings[$0]["axis"] == nil }
      .map { index in
        let epsilon: Double =
          switch settings[index]["epsilon"] {
          case .real(let value)?: value
          case .integer(let value)?: Double(value)
          default: 1e-5
          }
        return (index, LayerChain.products.contains(names[index - 1]), epsilon)
      }
  }
}

extension ModelRun {
  /// The same run over another float model of the same layers; what calibration left is collected anew.
  func over(_ changed: Model) throws(TemperError) -> ModelRun {
    let variables = chosen.compactMap { changed.variable($0.name) }
    var statistics: [String: InputStatistics] = [:]
    if let calibration { try changed.observe(variables, calibration, into: &statistics, workers: workers) }
    return ModelRun(
      changed, variables, statistics, calibration: calibration, targets: targets, catalogue: catalogue,
      workers: workers, session: session)
  }

  func copyOfModel() throws(TemperError) -> Model {
    try Model(restoring: model.fileContents, catalogue: catalogue)
  }
}
