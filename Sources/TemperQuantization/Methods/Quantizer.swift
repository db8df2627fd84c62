import TemperCatalogue
import TemperCore

/// A method that turns a weight into packed codes.
package protocol Quantizer: Sendable {
  /// Its name in the catalogue.
  var name: String { get }
  /// `calibration`: inputs of the layer, (samples, columns); nil for methods that look at the weight alone.
  func pack(_ weight: Weight, calibration: Tensor?, workers: Workers) throws(TemperError) -> PackedMatrix
}

/// What the catalogue's records of quantizers build.
package struct QuantizerMaker: Sendable {
  package let make: @Sendable (Arguments) throws(TemperError) -> any Quantizer
}

package struct QuantizedWeight: Sendable {
  package let matrix: PackedMatrix
  package let report: QuantizationReport
}

extension Quantizer {
  /// `weight` (rows, …) float32 or float64, packed, with a report of what it cost.
  package func quantize(
    _ weight: Tensor, calibration: Tensor? = nil, workers: Workers
  ) throws(TemperError) -> QuantizedWeight {
    let weight = try Weight(weight)
    if let calibration {
      guard calibration.dtype.isFloating, calibration.shape.rank == 2, calibration.shape[1] == weight.columns,
        calibration.shape[0] > 0
      else {
        throw TemperError(
          .invalidShape,
          "Calibration inputs are float arrays (samples, \(weight.columns)) with at least one sample; \(calibration.dtype.name) of shape \(calibration.shape) came."
        )
      }
    }
    do throws(TemperError) {
      let matrix = try pack(weight, calibration: calibration, workers: workers)
      return QuantizedWeight(matrix: matrix, report: matrix.report(of: weight, workers: workers))
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
