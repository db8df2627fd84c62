import TemperCatalogue
import TemperCore

/// Rounds a layer's weights one column (input) after the other; the columns still to come make up for what the inputs
/// feel of the errors so far.
///
/// Minimises (w − q)ᵀ H (w − q) over each row greedily, H = Σ x xᵀ + damping · mean of its diagonal. With H = R Rᵀ, R
/// upper triangular, that is Σᵢ (Rᵢᵢ (wᵢ − qᵢ) + Σ_{j<i} Rⱼᵢ (wⱼ − qⱼ))²: column i is rounded from
/// wᵢ + Σ_{j<i} (Rⱼᵢ / Rᵢᵢ) (wⱼ − qⱼ), which leaves the term of i as small as its levels allow.
package struct GPTQ: Quantizer {
  package let grid: Grid
  package let granularity: Granularity
  package let range: RangeSetting
  /// Added to the diagonal of H, in parts of its mean.
  package let damping: Double
  /// Columns with the largest inputs first, while most columns are left to make up for their errors.
  package let ordersByActivity: Bool

  package var name: String { "gptq" }
  package var needsInputs: Bool { true }

  package func pack(
    _ weight: Weight, inputs: InputStatistics?, workers: Workers
  ) throws(TemperError) -> QuantizedMatrix {
    try QuantizedMatrix(packed(weight, inputs: inputs, workers: workers))
  }

  func packed(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> PackedMatrix {
    let covers = try weight.covers(grid, granularity, range, workers: workers)
    let groupSize = granularity.groupSize(columns: weight.columns)
    guard let inputs, weight.columns > 0 else {
      return try PackedMatrix(
        nearest: weight, grid: grid, groupSize: groupSize, scales: covers.scales, zeros: covers.zeros, workers: workers)
    }
    let activity = try inputs.diagonal()
    let order =
      ordersByActivity
      ? activity.indices.sorted { (-activity[$0], $0) < (-activity[$1], $1) } : Array(activity.indices)
    let factors = try inputs.feedback(damping: damping, order: order, workers: workers).factors
    let codes = try weight.roundedWithFeedback(
      grid, scales: covers.scales, zeros: covers.zeros, groupSize: groupSize, factors: factors, order: order,
      workers: workers)
    return try PackedMatrix(
      shape: weight.shape, grid: grid, groupSize: groupSize, scales: covers.scales, zeros: covers.zeros,
      looseCodes: codes, workers: workers)
  }
}

extension GPTQ {
  static let method = Method(
    "gptq", kind: .quantizer, area: "quant",
    summary: "Rounds column by column; later columns make up for the error that the layer's inputs feel.",
    reference: Reference(
      "Frantar et al.", 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
      arXiv: "2210.17323"),
    parameters: UniformGrid.parameters(bits: 4, symmetric: false) + [
      .real(
        "percdamp", 0.01, in: .positive, "Added to the diagonal of the inputs' second moments, in parts of its mean."),
      .boolean("act_order", true, "Columns with the largest inputs first."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        GPTQ(
          grid: try Grid(arguments.boolean("symmetric") ? .symmetric : .asymmetric, bits: arguments.integer("bits")),
          granularity: try Granularity(arguments), range: RangeSetting(arguments),
          damping: arguments.real("percdamp"), ordersByActivity: arguments.boolean("act_order"))
      }))
}
