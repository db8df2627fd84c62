import TemperCatalogue
import TemperCore

/// Which weights share a scale.
package enum Granularity: Sendable, Hashable {
  /// All.
  case tensor
  /// Those of one output row.
  case channel
  /// That many neighbours of one output row.
  case group(Int)
}

/// Each weight goes to the nearest level of a grid that just covers its group's values.
package struct RoundToNearest: Quantizer {
  package let grid: Grid
  package let granularity: Granularity
  package var name: String { "round_to_nearest" }

  package init(grid: Grid, granularity: Granularity) { (self.grid, self.granularity) = (grid, granularity) }

  package func pack(_ weight: Weight, calibration: Tensor?, workers: Workers) throws(TemperError) -> PackedMatrix {
    let columns = max(weight.columns, 1)
    let groupSize = if case .group(let size) = granularity { min(size, columns) } else { columns }
    var (minima, maxima) = try weight.ranges(groupSize: groupSize, workers: workers)
    var shape: Shape = [weight.rows, PackedMatrix.groups(columns: weight.columns, groupSize: groupSize)]
    if granularity == .tensor {
      shape = [1, shape[1]]
      minima = [Float](repeating: minima.min() ?? 0, count: shape.count)
      maxima = [Float](repeating: maxima.max() ?? 0, count: shape.count)
    }
    let covers = zip(minima, maxima).map { grid.covering($0, $1) }
    return try PackedMatrix(
      nearest: weight, grid: grid, groupSize: groupSize, scales: try Tensor(covers.map(\.scale), shape: shape),
      zeros: grid.hasZeroPoints ? try Tensor(covers.map(\.zero), shape: shape) : nil, workers: workers)
  }
}

extension Granularity {
  static let parameters: [Parameter] = [
    .choice(
      "granularity", ["channel", "tensor", "group"],
      "What shares a scale: an output row, the whole tensor, or group_size neighbours of a row."),
    .integer("group_size", 0, in: 0...(1 << 30), "Weights of a row that share a scale; 0 for the whole row."),
  ]

  /// A group size makes groups of channels; it contradicts one scale for the whole tensor.
  init(_ arguments: Arguments) throws(TemperError) {
    let size = arguments.integer("group_size")
    switch (arguments.text("granularity"), size) {
    case ("channel", 0): self = .channel
    case ("tensor", 0): self = .tensor
    case ("tensor", _):
      throw TemperError(.invalidArgument, "granularity \"tensor\" has one scale; group_size \(size) contradicts it.")
    case ("group", 0):
      throw TemperError(.invalidArgument, "granularity \"group\" needs a group_size of at least 1.")
    default: self = .group(size)
    }
  }
}

extension RoundToNearest {
  static let method = Method(
    "round_to_nearest", kind: .quantizer, area: "quant",
    summary: "Each weight goes to the nearest level of a uniform grid that covers its group from minimum to maximum.",
    parameters: [
      .integer("bits", 8, in: 2...8, "Bits of a code."),
      .boolean("symmetric", true, "Levels on both sides of zero alike; otherwise each group has a zero point."),
    ] + Granularity.parameters,
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        RoundToNearest(
          grid: try Grid(arguments.boolean("symmetric") ? .symmetric : .asymmetric, bits: arguments.integer("bits")),
          granularity: try Granularity(arguments))
      }))
}
