import TemperCatalogue
import TemperCore

/// Evenly spaced levels, what shares a scale, and what the levels cover: the part that most methods have in common.
package struct UniformGrid: Sendable, Hashable {
  package let grid: Grid
  package let granularity: Granularity
  package let range: RangeSetting

  static func parameters(bits: Int, symmetric: Bool) -> [Parameter] {
    [
      .integer("bits", bits, in: 2...8, "Bits of a code."),
      .boolean("symmetric", symmetric, "Levels on both sides of zero alike; otherwise each group has a zero point."),
    ] + Granularity.parameters + RangeSetting.parameters
  }

  /// An asymmetric grid for each row.
  init(bits: Int, _ range: RangeSetting) throws(TemperError) {
    (grid, granularity, self.range) = (try Grid(.asymmetric, bits: bits), .channel, range)
  }

  init(_ arguments: Arguments) throws(TemperError) {
    grid = try Grid(arguments.boolean("symmetric") ? .symmetric : .asymmetric, bits: arguments.integer("bits"))
    granularity = try Granularity(arguments)
    range = RangeSetting(arguments)
  }

  func groupSize(of weight: Weight) -> Int { granularity.groupSize(columns: weight.columns) }

  /// Rounded to nearest.
  func nearest(_ weight: Weight, workers: Workers) throws(TemperError) -> PackedMatrix {
    let covers = try weight.covers(grid, granularity, range, workers: workers)
    return try PackedMatrix(
      nearest: weight, grid: grid, groupSize: groupSize(of: weight), scales: covers.scales, zeros: covers.zeros,
      workers: workers)
  }

  /// Nearest, or with error feedback where there are inputs.
  func packed(
    _ weight: Weight, inputs: InputStatistics?, feedback: Bool, workers: Workers
  ) throws(TemperError) -> PackedMatrix {
    guard feedback, let inputs else { return try nearest(weight, workers: workers) }
    return try GPTQ(grid: grid, granularity: granularity, range: range, damping: 0.01, ordersByActivity: true)
      .packed(weight, inputs: inputs, workers: workers)
  }
}

extension Weight {
  /// Other values of the same shape.
  func replacing(_ values: [Float]) throws(TemperError) -> Weight { try Weight(try Tensor(values, shape: shape)) }
}

extension PackedMatrix {
  /// Row-major, float32.
  func decoded(workers: Workers) throws(TemperError) -> [Float] {
    try QuantizedMatrix(self).dequantize(workers: workers).array(of: Float.self)
  }
}

extension InputStatistics {
  /// tr(D G Dᵀ) with D = W − Ŵ, for values in row-major order.
  func error(_ original: [Float], _ rounded: [Float], workers: Workers) throws(TemperError) -> Double {
    let rows = columns == 0 ? 0 : original.count / columns
    let difference = zip(original, rounded).map { Double($0) - Double($1) }
    return try energy(of: try Tensor(difference, shape: [rows, columns]), workers: workers)
  }
}
