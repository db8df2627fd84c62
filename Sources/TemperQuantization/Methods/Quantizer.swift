import TemperCatalogue
import TemperCore

/// A method that turns a weight into packed codes.
package protocol Quantizer: Sendable {
  /// Its name in the catalogue.
  var name: String { get }
  /// Whether it looks at the layer's inputs.
  var needsInputs: Bool { get }
  /// Whether it looks at squared gradients of a model's loss.
  var needsSaliency: Bool { get }
  /// `inputs`: statistics of the layer's inputs, nil where there are none: for methods that look at the weight alone, and
  /// for weights that are not multiplied with inputs (tables of embeddings), which all methods then round to nearest.
  func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
}

extension Quantizer {
  package var needsInputs: Bool { false }
  package var needsSaliency: Bool { false }
}

/// What the catalogue's records of quantizers build.
package struct QuantizerMaker: Sendable {
  package let make: @Sendable (Arguments) throws(TemperError) -> any Quantizer
}

package struct QuantizedWeight: Sendable {
  package let matrix: QuantizedMatrix
  package let report: QuantizationReport
}

extension Quantizer {
  /// `weight` (rows, …) float32 or float64, packed, with a report of what it cost. `observed`: what earlier calibration
  /// inputs left, for when none come now.
  package func quantize(
    _ weight: Tensor, calibration: Tensor? = nil, observed: InputStatistics? = nil, workers: Workers
  ) throws(TemperError) -> QuantizedWeight {
    let weight = try Weight(weight)
    var inputs = observed
    if let inputs, inputs.columns != weight.columns {
      throw TemperError(
        .invalidShape, "Inputs of \(inputs.columns) columns were observed; the weight has \(weight.columns).",
        origin: name)
    }
    if let calibration {
      guard calibration.shape.rank == 2, calibration.shape[0] > 0 else {
        throw TemperError(
          .invalidShape,
          "Calibration inputs are (samples, \(weight.columns)) with at least one sample; \(calibration.shape) came.")
      }
      let statistics = try InputStatistics(columns: weight.columns)
      try statistics.add(calibration, workers: workers)
      inputs = statistics
    } else if needsInputs, inputs == nil {
      throw missingCalibration
    }
    return try quantize(weight, inputs: inputs, workers: workers)
  }

  var missingCalibration: TemperError {
    TemperError(.invalidArgument, "It looks at the inputs of a layer: give it calibration inputs.", origin: name)
  }

  func quantize(
    _ weight: Weight, inputs: InputStatistics?, workers: Workers
  ) throws(TemperError) -> QuantizedWeight {
    do throws(TemperError) {
      let matrix = try pack(weight, inputs: inputs, workers: workers)
      return QuantizedWeight(
        matrix: matrix, report: try matrix.report(of: weight, inputs: inputs, workers: workers))
    } catch { throw error.from(name) }
  }
}

extension Method {
  /// The quantizer that a record of kind quantizer describes.
  package func quantizer(_ parameters: [(name: String, value: Value)] = []) throws(TemperError) -> any Quantizer {
    guard case .component(let component) = implementation, let maker = component as? QuantizerMaker else {
      throw TemperError(.unknownName, "\"\(name)\" is of kind \(kind.rawValue), not quantizer.")
    }
    return try maker.make(try Arguments(parameters, for: self.parameters))
  }
}
