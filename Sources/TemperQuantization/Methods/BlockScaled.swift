import TemperCatalogue
import TemperCore

/// Blocks of a row share a power of two, 2^(⌊log₂ max |w|⌋ − e), with e the exponent of the grid's largest level; what a
/// block's largest values exceed the grid by is cut off.
package struct BlockScaled: Quantizer {
  package let name: String
  package let grid: Grid
  package let blockSize: Int

  private var largestExponent: Int { Int(grid.largestLevel.exponent) }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let scales = unsafe try weight.scales(.group(blockSize), workers: workers) { values in
      let largest = unsafe values.reduce(0) { max($0, abs($1)) }
      guard largest > 0 else { return 1 }
      return Float(sign: .plus, exponent: max(Int(largest.exponent) - largestExponent, -126), significand: 1)
    }
    return try QuantizedMatrix(
      PackedMatrix(
        nearest: weight, grid: grid, groupSize: Granularity.group(blockSize).groupSize(columns: weight.columns),
        scales: scales, zeros: nil, workers: workers
      ).withExponents())
  }
}

extension BlockScaled {
  /// The five microscaling formats.
  static let methods: [Method] = [
    method("mxfp4", Grid(.fp4E2M1), "4-bit floats"), method("mxfp6_e2m3", Grid(.fp6E2M3), "6-bit floats"),
    method("mxfp6_e3m2", Grid(.fp6E3M2), "6-bit floats"), method("mxfp8_e4m3", Grid(.fp8E4M3), "8-bit floats"),
    method("mxfp8_e5m2", Grid(.fp8E5M2), "8-bit floats"),
    method("mxint8", Grid(symmetricBits: 8), "8-bit whole numbers"),
  ]

  private static func method(_ name: String, _ grid: Grid, _ numbers: String) -> Method {
    Method(
      name, kind: .quantizer, area: "quant",
      summary: "Microscaling: 32 neighbours of a row share a power of two, and each is one of the \(numbers).",
      reference: Reference("Open Compute Project", 2023, "OCP Microscaling Formats (MX) Specification"),
      implementation: .component(
        QuantizerMaker { _ throws(TemperError) in BlockScaled(name: name, grid: grid, blockSize: 32) }))
  }

  static let blockFloatingPoint = Method(
    "block_floating_point", kind: .quantizer, area: "quant",
    summary: "Neighbours of a row share an exponent, and each is a signed fraction.",
    reference: Reference(
      "Rouhani et al.", 2020,
      "Pushing the Limits of Narrow Precision Inferencing at Cloud Scale with Microsoft Floating Point"
    ),
    parameters: [
      .integer("bits", 4, in: 2...8, "Bits of a fraction with its sign."),
      .integer("group_size", 16, in: 1...(1 << 30), "Weights of a row that share an exponent."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        BlockScaled(
          name: "block_floating_point", grid: Grid(symmetricBits: arguments.integer("bits")),
          blockSize: arguments.integer("group_size"))
      }))
}

/// 4-bit floats in blocks of 16 under scales that are 8-bit floats (E4M3) times one float32 for the tensor.
package struct NVFP4: Quantizer {
  package var name: String { "nvfp4" }
  private static let blockSize = 16

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let grid = Grid(.fp4E2M1)
    let largest = unsafe try weight.scales(.tensor, workers: workers) { values in
      unsafe values.reduce(0) { max($0, abs($1)) }
    }
    // The tensor's scale makes the largest block's scale the largest E4M3.
    let all = max((try largest.array(of: Float.self).first ?? 1) / (grid.largestLevel * 448), .leastNormalMagnitude)
    let floats = SortedLevels(.fp8E4M3)
    let scales = unsafe try weight.scales(.group(NVFP4.blockSize), workers: workers) { values in
      let wanted = unsafe values.reduce(0) { max($0, abs($1)) } / grid.largestLevel / all
      let place = floats.thresholds.count { $0 < wanted }
      return all * max(floats.levels[place], 0x1p-9)
    }
    return try QuantizedMatrix(
      PackedMatrix(
        nearest: weight, grid: grid, groupSize: Granularity.group(NVFP4.blockSize).groupSize(columns: weight.columns),
        scales: scales, zeros: nil, workers: workers))
  }

  static let method = Method(
    "nvfp4", kind: .quantizer, area: "quant",
    summary: "16 neighbours of a row share a scale that is an 8-bit float times the tensor's; each is a 4-bit float.",
    reference: Reference("NVIDIA", 2025, "Pretraining Large Language Models with NVFP4", arXiv: "2509.25149"),
    implementation: .component(QuantizerMaker { _ throws(TemperError) in NVFP4() }))
}
