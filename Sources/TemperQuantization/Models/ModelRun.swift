import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// What methods see of a float model: the weights to pack, and what calibration left.
package final class ModelRun {
  package let model: Model
  package let chosen: [Variable]
  package let inputs: [String: InputStatistics]
  /// Inputs (N, …) of the model and, where they came, its targets: class ids (N,).
  package let calibration: Tensor?
  package let targets: Tensor?
  package let catalogue: Catalogue
  package let workers: Workers
  let session: QuantizationSession

  init(
    _ model: Model, _ chosen: [Variable], _ inputs: [String: InputStatistics], calibration: Tensor?, targets: Tensor?,
    catalogue: Catalogue, workers: Workers, session: QuantizationSession
  ) {
    (self.model, self.chosen, self.inputs, self.calibration) = (model, chosen, inputs, calibration)
    (self.targets, self.catalogue, self.workers, self.session) = (targets, catalogue, workers, session)
  }

  func weight(_ variable: Variable) throws(TemperError) -> Weight {
    guard let tensor = variable.tensor else {
      throw TemperError(.internalFault, "\"\(variable.name)\" has no values to pack.")
    }
    return try Weight(tensor)
  }

  /// Every chosen weight by `quantizer`; weights that the session has finished already are taken from it.
  func packEach(_ quantizer: any Quantizer) throws(TemperError) -> [(name: String, result: QuantizedWeight)] {
    var results: [(name: String, result: QuantizedWeight)] = []
    for variable in chosen {
      let result: QuantizedWeight
      if let finished = session.finished[variable.name] {
        result = finished
      } else {
        result = try pack(variable, quantizer)
        session.finished[variable.name] = result
        try session.report(variable.name, result.report, done: results.count + 1, of: chosen.count)
      }
      results.append((variable.name, result))
    }
    return results
  }

  func pack(_ variable: Variable, _ quantizer: any Quantizer) throws(TemperError) -> QuantizedWeight {
    do throws(TemperError) {
      return try quantizer.quantize(try weight(variable), inputs: inputs[variable.name], workers: workers)
    } catch {
      throw TemperError(error.code, "\"\(variable.name)\": \(error.message)", origin: error.origin)
    }
  }

  /// Something that is done besides weights: may be the moment to stop.
  func step(_ what: String, done: Int, of count: Int) throws(TemperError) {
    try session.report(what, nil, done: done, of: count)
  }

  /// The calibration inputs, for methods that run the model.
  func samples() throws(TemperError) -> Tensor {
    guard let calibration, calibration.shape[0] > 0 else {
      throw TemperError(.invalidArgument, "It runs the model: give it calibration inputs.")
    }
    return calibration
  }

  /// A copy of the float model with `matrices` in place of the weights of these names.
  func quantized(_ matrices: [(name: String, matrix: QuantizedMatrix)]) throws(TemperError) -> QuantizedModel {
    let packed = Set(matrices.map(\.name))
    var rest = model.fileContents
    rest.tensors.removeAll { packed.contains($0.name) }
    return try QuantizedModel(try Model(restoring: rest, catalogue: catalogue, absent: packed), matrices)
  }
}

/// What a run over a model tells its caller, and what it has finished: a run that was cancelled goes on with the same
/// session where it stopped.
package final class QuantizationSession {
  package struct Progress: Sendable {
    /// Weights, or rounds of a search.
    package let done: Int
    package let count: Int
    /// A weight's name, or what a round found.
    package let what: String
    /// Of the weight; nil for a round.
    package let report: QuantizationReport?
  }

  /// False stops the run, which then throws `cancelled`.
  package var progress: ((Progress) throws(TemperError) -> Bool)?
  package internal(set) var finished: [String: QuantizedWeight] = [:]

  package init(progress: ((Progress) throws(TemperError) -> Bool)? = nil) { self.progress = progress }

  func report(_ what: String, _ report: QuantizationReport?, done: Int, of count: Int) throws(TemperError) {
    guard let progress else { return }
    if try !progress(Progress(done: done, count: count, what: what, report: report)) {
      throw TemperError(.cancelled, "Quantization was cancelled after \(done) of \(count).")
    }
  }
}

/// A method that decides over all weights of a model together.
package protocol ModelQuantizer: Quantizer {
  /// What packs each weight; a matrix alone has nothing to share with others and is packed by it too.
  var base: any Quantizer { get throws(TemperError) }
  func pack(_ run: ModelRun) throws(TemperError) -> (model: QuantizedModel, reports: [(String, QuantizationReport)])
}

extension ModelQuantizer {
  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    try base.pack(weight, inputs: inputs, workers: workers)
  }
}
