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

extension Model {
  /// Every weight that can be packed, except those in `skip`: names of parameters ("0.weight") or of layers ("0", "2.1").
  package func packable(skip: [String] = []) throws(TemperError) -> [Variable] {
    guard parameters.allSatisfy({ $0.tensor != nil }) else {
      throw TemperError(.wrongState, "The model's weights are packed already; quantize the float model.")
    }
    func covers(_ entry: String, _ name: String) -> Bool { name == entry || name.hasPrefix(entry + ".") }
    for entry in skip where !parameters.contains(where: { covers(entry, $0.name) }) {
      throw TemperError(.unknownName, "The model has no parameter or layer \"\(entry)\" that could be skipped.")
    }
    return parameters.filter { variable in variable.isPackable && !skip.contains { covers($0, variable.name) } }
  }
}

extension Quantizer {
  /// A copy of `model` with every weight packed that can be, except those in `skip`: names of parameters ("0.weight") or
  /// of layers ("0", "2.1"). `calibration`: inputs (N, …) of the model, from which the float model makes each layer's;
  /// `observed`: what earlier ones left. `targets`: class ids (N,) for methods that look at the loss; without them what
  /// the model itself says. With the `session` of a run that was cancelled it goes on where that stopped.
  package func quantize(
    _ model: Model, calibration: Tensor? = nil, observed: [String: InputStatistics]? = nil, targets: Tensor? = nil,
    skip: [String] = [], session: QuantizationSession = QuantizationSession(), catalogue: Catalogue, workers: Workers
  ) throws(TemperError) -> (model: QuantizedModel, report: ModelQuantizationReport) {
    do throws(TemperError) {
      return try quantizeWhole(
        model, calibration: calibration, observed: observed, targets: targets, skip: skip, session: session,
        catalogue: catalogue, workers: workers)
    } catch { throw error.from(name) }
  }

  private func quantizeWhole(
    _ model: Model, calibration: Tensor?, observed: [String: InputStatistics]?, targets: Tensor?, skip: [String],
    session: QuantizationSession, catalogue: Catalogue, workers: Workers
  ) throws(TemperError) -> (model: QuantizedModel, report: ModelQuantizationReport) {
    let chosen = try model.packable(skip: skip)
    var inputs = observed ?? [:]
    if let calibration {
      try model.observe(chosen, calibration, into: &inputs, workers: workers)
      if needsSaliency {
        try model.observeSaliency(chosen, calibration, targets: targets, into: &inputs, workers: workers)
      }
    } else if needsInputs, inputs.isEmpty {
      throw missingCalibration
    }
    let run = ModelRun(
      model, chosen, inputs, calibration: calibration, targets: targets, catalogue: catalogue, workers: workers,
      session: session)
    if let whole = self as? any ModelQuantizer {
      let (result, reports) = try whole.pack(run)
      return (result, result.report(reports))
    }
    let weights = try run.packEach(self)
    let result = try run.quantized(weights.map { ($0.name, $0.result.matrix) })
    return (result, result.report(weights.map { ($0.name, $0.result.report) }))
  }
}

extension QuantizedModel {
  fileprivate func report(_ weights: [(String, QuantizationReport)]) -> ModelQuantizationReport {
    reports = weights
    return ModelQuantizationReport(weights: weights, byteCount: byteCount, floatByteCount: floatByteCount)
  }
}
