import TemperCatalogue
import TemperCore

/// Each weight goes to the nearest level of a grid that covers its group's values, or to one of the two next to it at
/// random, such that the mean is right.
package struct RoundToNearest: Quantizer {
  package let name: String
  package let grid: Grid
  package let granularity: Granularity
  package let range: RangeSetting
  /// Scales are the next powers of two.
  package var hasPowersOfTwo = false
  /// Of stochastic rounding; nil to round to nearest.
  package var seed: UInt64?

  package init(
    name: String = "round_to_nearest", grid: Grid, granularity: Granularity, range: RangeSetting = .minMax
  ) {
    (self.name, self.grid, self.granularity, self.range) = (name, grid, granularity, range)
  }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    var (scales, zeros) = try weight.covers(grid, granularity, range, workers: workers)
    if hasPowersOfTwo { (scales, zeros) = try poweredUp(scales, zeros) }
    let groupSize = granularity.groupSize(columns: weight.columns)
    var matrix: PackedMatrix
    if let seed {
      let codes = try weight.stochasticCodes(
        grid, groupSize: groupSize, scales: scales, zeros: zeros, seed: seed, workers: workers)
      matrix = try PackedMatrix(
        shape: weight.shape, grid: grid, groupSize: groupSize, scales: scales, zeros: zeros, looseCodes: codes,
        workers: workers)
    } else {
      matrix = try PackedMatrix(
        nearest: weight, grid: grid, groupSize: groupSize, scales: scales, zeros: zeros, workers: workers)
    }
    if hasPowersOfTwo { matrix = try matrix.withExponents() }
    return try QuantizedMatrix(matrix)
  }

  /// Scales up to the next power of two; a zero point moves with its scale, so that both ends stay covered.
  private func poweredUp(_ scales: Tensor, _ zeros: Tensor?) throws(TemperError) -> (Tensor, Tensor?) {
    let old = try scales.array(of: Float.self)
    let new = old.map { scale -> Float in
      let power = Float(sign: .plus, exponent: scale.exponent, significand: 1)
      return power < scale ? 2 * power : power
    }
    let points = try zeros?.array(of: UInt8.self)
    let moved = points?.indices.map { place -> UInt8 in
      let below = (Float(points?[place] ?? 0) * old[place] / new[place]).rounded(.up)
      return UInt8(min(max(below, 0), Float(grid.highestCode)))
    }
    return (
      try Tensor(new, shape: scales.shape),
      try moved.map { values throws(TemperError) in
        try Tensor(values, shape: scales.shape)
      }
    )
  }
}

extension RoundToNearest {
  static let method = Method(
    "round_to_nearest", aliases: ["rtn"], kind: .quantizer, area: "quant",
    summary: "Each weight goes to the nearest level of a uniform grid that covers its group.",
    parameters: [
      .integer("bits", 8, in: 1...8, "Bits of a code; 1 is the sign, times the mean size of the group.")
    ] + UniformGrid.parameters(bits: 8, symmetric: true).dropFirst() + [
      .choice("scales", ["float32", "power_of_two"], "Scales as they come, or rounded up to powers of two."),
      .choice("rounding", ["nearest", "stochastic"], "To the nearest level, or to one of two with the right mean."),
      .integer("seed", 0, in: 0...(.max), "Of stochastic rounding."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        if arguments.integer("bits") == 1, arguments.boolean("symmetric"), arguments.text("rounding") == "nearest",
          arguments.text("scales") == "float32"
        {
          return SignsAndZeros(
            name: "round_to_nearest", codebook: .binary, granularity: try Granularity(arguments))
        }
        let uniform = try UniformGrid(arguments)
        var method = RoundToNearest(grid: uniform.grid, granularity: uniform.granularity, range: uniform.range)
        method.hasPowersOfTwo = arguments.text("scales") == "power_of_two"
        method.seed = arguments.text("rounding") == "stochastic" ? UInt64(arguments.integer("seed")) : nil
        return method
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
