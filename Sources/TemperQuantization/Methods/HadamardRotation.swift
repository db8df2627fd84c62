import TemperCatalogue
import TemperCore

/// Rotates the inputs by random signs and a Hadamard matrix, R, and rounds W Rᵀ: outliers spread over all columns, so that
/// ranges are even.
package struct HadamardRotation: Quantizer {
  package var name: String { "hadamard_rotation" }
  package let uniform: UniformGrid
  /// Whether to round with error feedback.
  package let hasFeedback: Bool
  package let seed: UInt64
  package var needsInputs: Bool { hasFeedback }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    _ = try weight.ranges(groupSize: max(weight.columns, 1), workers: workers)
    let around = Adjustment(rotation: Rotation(columns: weight.columns, seed: seed))
    let rotated = try Weight(try around.applied(to: weight.values, workers: workers).reshaped(weight.shape))
    return try QuantizedMatrix(
      uniform.packed(
        rotated, inputs: try inputs?.rotated(by: around, workers: workers), feedback: hasFeedback, workers: workers),
      around)
  }

  static let method = Method(
    "hadamard_rotation", kind: .quantizer, area: "quant",
    summary: "Rounds the weights in a randomly rotated basis, where no column stands out.",
    reference: Reference(
      "Ashkboos et al.", 2024, "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs", arXiv: "2404.00456"),
    parameters: UniformGrid.parameters(bits: 4, symmetric: true) + [
      .choice("rounding", ["nearest", "gptq"], "To the nearest level, or column by column with error feedback."),
      .integer("seed", 0, in: 0...(.max), "Of the random signs."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        HadamardRotation(
          uniform: try UniformGrid(arguments), hasFeedback: arguments.text("rounding") == "gptq",
          seed: UInt64(arguments.integer("seed")))
      }))
}

extension InputStatistics {
  /// What inputs R x leave in Σ x xᵀ: R G Rᵀ.
  func rotated(by around: Adjustment, workers: Workers) throws(TemperError) -> InputStatistics {
    let half = try around.applied(to: gram, workers: workers)
    let whole = try around.applied(to: try half.permuted([1, 0]).copy(), workers: workers)
    return try InputStatistics(gram: whole, samples: samples)
  }
}
