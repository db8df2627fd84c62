import TemperCatalogue
import TemperCore

/// Each weight becomes the nearest 16-bit floating-point number.
package struct HalfPrecision: Quantizer {
  package let format: HalfNumbers.Format
  package var name: String { format.rawValue }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    _ = try weight.ranges(groupSize: max(weight.columns, 1), workers: workers)
    return try QuantizedMatrix(HalfNumbers(weight, format))
  }
}

extension HalfPrecision {
  static let float16 = method(.float16, "10 bits of fraction, up to 65504")
  static let bfloat16 = method(.bfloat16, "7 bits of fraction and the range of float32")

  private static func method(_ format: HalfNumbers.Format, _ numbers: String) -> Method {
    Method(
      format.rawValue, kind: .quantizer, area: "quant",
      summary: "Each weight becomes the nearest 16-bit floating-point number with \(numbers).",
      implementation: .component(QuantizerMaker { _ throws(TemperError) in HalfPrecision(format: format) }))
  }
}
