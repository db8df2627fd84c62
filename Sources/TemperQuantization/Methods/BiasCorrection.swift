import TemperCatalogue
import TemperCore

/// Rounding whose outputs keep their means: the outputs get o = (W − Ŵ) E[x].
package struct BiasCorrection: Quantizer {
  package var name: String { "bias_correction" }
  package let uniform: UniformGrid
  package let hasFeedback: Bool
  package var needsInputs: Bool { true }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let matrix = try uniform.packed(weight, inputs: inputs, feedback: hasFeedback, workers: workers)
    guard let inputs else { return try QuantizedMatrix(matrix) }
    let (original, rounded) = (try weight.values.array(of: Float.self), try matrix.decoded(workers: workers))
    let means = inputs.means
    let offsets = (0..<weight.rows).map { row in
      Float(
        (0..<weight.columns).reduce(0.0) { sum, column in
          let place = row * weight.columns + column
          return sum + (Double(original[place]) - Double(rounded[place])) * means[column]
        })
    }
    return try QuantizedMatrix(matrix, Adjustment(offsets: try Tensor(offsets)))
  }

  static let method = Method(
    "bias_correction", kind: .quantizer, area: "quant",
    summary: "Rounding with an offset for each output, so that the outputs' means stay.",
    reference: Reference(
      "Nagel et al.", 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
      arXiv: "1906.04721"),
    parameters: UniformGrid.parameters(bits: 4, symmetric: false) + [
      .choice("rounding", ["nearest", "gptq"], "To the nearest level, or column by column with error feedback.")
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        BiasCorrection(uniform: try UniformGrid(arguments), hasFeedback: arguments.text("rounding") == "gptq")
      }))
}
