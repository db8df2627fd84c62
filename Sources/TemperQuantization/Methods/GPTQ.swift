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
    let covers = try weight.covers(grid, granularity, range, workers: workers)
    let groupSize = granularity.groupSize(columns: weight.columns)
    guard let inputs, weight.columns > 0 else {
      return try QuantizedMatrix(
        PackedMatrix(
          nearest: weight, grid: grid, groupSize: groupSize, scales: covers.scales, zeros: covers.zeros,
          workers: workers))
    }
    let activity = try inputs.diagonal()
    let order =
      ordersByActivity
      ? activity.indices.sorted { (-activity[$0], $0) < (-activity[$1], $1) } : Array(activity.indices)
    let factors = try feedbackFactors(inputs, activity, order: order, workers: workers)
    let codes = try weight.roundedWithFeedback(
      grid, scales: covers.scales, zeros: covers.zeros, groupSize: groupSize, factors: factors, order: order,
      workers: workers)
    return try QuantizedMatrix(
      PackedMatrix(
        shape: weight.shape, grid: grid, groupSize: groupSize, scales: covers.scales, zeros: covers.zeros,
        looseCodes: codes, workers: workers))
  }

  /// Rⱼᵢ / Rᵢᵢ above the diagonal, columns in the order given, float32.
  private func feedbackFactors(
    _ inputs: InputStatistics, _ activity: [Double], order: [Int], workers: Workers
  ) throws(TemperError) -> Tensor {
    let n = order.count
    let mean = activity.reduce(0, +) / Double(n)
    // Inputs that are all zero tell nothing: every column counts alike.
    let added = mean > 0 ? damping * mean : 1
    // R is the Cholesky factor of H with rows and columns reversed, reversed again.
    let reversed = Array(order.reversed())
    let matrix = try inputs.gram.gathered(rowsAndColumns: reversed, addingToDiagonal: added, workers: workers)
    guard try Cholesky.factor(matrix, workers: workers) else {
      throw TemperError(
        .outOfRange,
        "The calibration inputs depend on each other too much for a damping of \(damping); increase percdamp.")
    }
    return try matrix.reversedOverDiagonal(workers: workers)
  }
}

extension GPTQ {
  static let method = Method(
    "gptq", kind: .quantizer, area: "quant",
    summary: "Rounds column by column; later columns make up for the error that the layer's inputs feel.",
    reference: Reference(
      "Frantar et al.", 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
      arXiv: "2210.17323"),
    parameters: [
      .integer("bits", 4, in: 2...8, "Bits of a code."),
      .boolean("symmetric", false, "Levels on both sides of zero alike; otherwise each group has a zero point."),
    ] + Granularity.parameters + RangeSetting.parameters + [
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
