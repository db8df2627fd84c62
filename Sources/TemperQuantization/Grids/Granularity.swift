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

  /// Columns that share a scale.
  func groupSize(columns: Int) -> Int {
    if case .group(let size) = self { min(size, max(columns, 1)) } else { max(columns, 1) }
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

extension RangeSetting {
  static let parameters: [Parameter] = [
    .choice(
      "range", ["minmax", "mse", "percentile", "entropy", "aciq"],
      "What a grid covers: all values, the part with the least squared error, sizes up to a percentile, the part whose distribution is kept best (KL divergence), or what is best for normal or Laplacian values."
    ),
    .real(
      "percentile", 99.9, in: Interval(0, 100, includesLower: false), "Of the sizes of a group; for range percentile."),
  ]

  init(_ arguments: Arguments) {
    switch arguments.text("range") {
    case "mse": self = .leastSquares
    case "percentile": self = .percentile(arguments.real("percentile"))
    case "entropy": self = .entropy
    case "aciq": self = .analytic
    default: self = .minMax
    }
  }
}
