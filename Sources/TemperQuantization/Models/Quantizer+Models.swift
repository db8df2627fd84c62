import TemperCatalogue
import TemperCore
import TemperNetworks

/// What quantizing a model cost and saved, weight by weight.
package struct ModelQuantizationReport: Sendable {
  package let weights: [(name: String, report: QuantizationReport)]
  /// Of the whole model: packed weights with everything that is not packed, and all of it in float32.
  package let byteCount: Int
  package let floatByteCount: Int
}

extension Quantizer {
  /// A copy of `model` with every weight packed that can be, except those in `skip`: names of parameters ("0.weight") or
  /// of layers ("0", "2.1"). `calibration`: inputs (N, …) of the model, from which the float model makes each layer's.
  package func quantize(
    _ model: Model, calibration: Tensor? = nil, skip: [String] = [], catalogue: Catalogue, workers: Workers
  ) throws(TemperError) -> (model: QuantizedModel, report: ModelQuantizationReport) {
    guard model.parameters.allSatisfy({ $0.tensor != nil }) else {
      throw TemperError(.wrongState, "The model's weights are packed already; quantize the float model.")
    }
    func covers(_ entry: String, _ name: String) -> Bool { name == entry || name.hasPrefix(entry + ".") }
    for entry in skip where !model.parameters.contains(where: { covers(entry, $0.name) }) {
      throw TemperError(.unknownName, "The model has no parameter or layer \"\(entry)\" that could be skipped.")
    }
    let chosen = model.parameters.filter { variable in
      variable.isPackable && !skip.contains { covers($0, variable.name) }
    }
    var inputs: [String: InputStatistics] = [:]
    if let calibration {
      inputs = try model.layerInputs(of: chosen, for: calibration, workers: workers)
    } else if needsInputs {
      throw missingCalibration
    }
    var weights: [(name: String, matrix: QuantizedMatrix)] = []
    var reports: [(name: String, report: QuantizationReport)] = []
    for variable in chosen {
      guard let tensor = variable.tensor else { continue }
      do throws(TemperError) {
        let quantized = try quantize(try Weight(tensor), inputs: inputs[variable.name], workers: workers)
        weights.append((variable.name, quantized.matrix))
        reports.append((variable.name, quantized.report))
      } catch {
        throw TemperError(error.code, "\"\(variable.name)\": \(error.message)", origin: error.origin)
      }
    }
    let packed = Set(weights.map(\.name))
    var rest = model.fileContents
    rest.tensors.removeAll { packed.contains($0.name) }
    let copy = try Model(restoring: rest, catalogue: catalogue, absent: packed)
    let result = try QuantizedModel(copy, weights)
    return (
      result,
      ModelQuantizationReport(weights: reports, byteCount: result.byteCount, floatByteCount: result.floatByteCount)
    )
  }
}
