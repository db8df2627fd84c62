import TemperCatalogue
import TemperCore

/// Each weight goes to the nearest level of a grid that covers its group's values.
package struct RoundToNearest: Quantizer {
  package let name: String
  package let grid: Grid
  package let granularity: Granularity
  package let range: RangeSetting

  package init(
    name: String = "round_to_nearest", grid: Grid, granularity: Granularity, range: RangeSetting = .minMax
  ) {
    (self.name, self.grid, self.granularity, self.range) = (name, grid, granularity, range)
  }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let covers = try weight.covers(grid, granularity, range, workers: workers)
    return try QuantizedMatrix(
      PackedMatrix(
        nearest: weight, grid: grid, groupSize: granularity.groupSize(columns: weight.columns), scales: covers.scales,
        zeros: covers.zeros, workers: workers))
  }
}

extension RoundToNearest {
  static let method = Method(
    "round_to_nearest", kind: .quantizer, area: "quant",
    summary: "Each weight goes to the nearest level of a uniform grid that covers its group.",
    parameters: [
      .integer("bits", 8, in: 2...8, "Bits of a code."),
      .boolean("symmetric", true, "Levels on both sides of zero alike; otherwise each group has a zero point."),
    ] + Granularity.parameters + RangeSetting.parameters,
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        RoundToNearest(
          grid: try Grid(arguments.boolean("symmetric") ? .symmetric : .asymmetric, bits: arguments.integer("bits")),
          granularity: try Granularity(arguments), range: RangeSetting(arguments))
      }))

  /// The same on the levels of a codebook.
  static func method(_ codebook: Codebook, _ levels: String, _ reference: Reference) -> Method {
    Method(
      codebook.name, kind: .quantizer, area: "quant",
      summary: "Each weight goes to the nearest of \(levels), scaled to cover its group.", reference: reference,
      parameters: Granularity.parameters + RangeSetting.parameters,
      implementation: .component(
        QuantizerMaker { arguments throws(TemperError) in
          RoundToNearest(
            name: codebook.name, grid: Grid(codebook), granularity: try Granularity(arguments),
            range: RangeSetting(arguments))
        }))
  }
}
