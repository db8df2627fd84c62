import Glibc
import TemperCore
import TemperGraph

/// A sequence (steps, width) as heads that share the width equally, with weights that project it and put it together.
struct Heads: Sendable {
  let count: Int, steps: Int, width: Int
  private let weightIn: String, weightOut: String
  private let projections: Int
  var size: Int { width / count }

  /// Declares in_proj_weight (projections * width, width) and out_proj.weight (width, width).
  init(_ layer: LayerBuilder, projections: Int) throws(TemperError) {
    try layer.requireRank(2...2, "sequences (steps, width)")
    (steps, width, count) = (layer.input[0], layer.input[1], layer.integer("heads"))
    guard width % count == 0 else {
      throw TemperError(.invalidShape, "The width \(width) cannot be shared by \(count) heads.")
    }
    try layer.requireSize([2 * projections, steps, width])
    self.projections = projections
    weightIn = try layer.parameter(
      "in_proj_weight", [projections * width, width], layer.initializer(), fanIn: width, fanOut: projections * width,
      use: .product)
    weightOut = try layer.parameter(
      "out_proj.weight", [width, width], layer.initializer("output_initializer"), fanIn: width, fanOut: width,
      use: .product)
  }

  static let options: [LayerOption] = [
    .size("heads", "Heads, which share the width equally.").named(also: "num_heads"),
    .initializer("initializer", "glorot_uniform", "Of the projections."),
    .initializer("output_initializer", "fan_in_uniform", "Of the output's projection."),
  ]

  /// (N, T, width) -> the projections one after the other, (N, T, width) each.
  func project(_ x: Expression, _ pass: Pass) -> [Expression] {
    let all = pass.product(x, weightIn)
    return (0..<projections).map { all.slice(($0 * width)..<(($0 + 1) * width), axis: -1) }
  }

  /// (N, T, width) -> (N, heads, T, size)
  func split(_ x: Expression) -> Expression {
    x.reshaped([x.shape[0], steps, count, size]).permuted([0, 2, 1, 3])
  }

  /// (N, heads, T, size) -> (N, T, width)
  func joined(_ x: Expression) -> Expression {
    x.permuted([0, 2, 1, 3]).reshaped([x.shape[0], steps, width])
  }

  func output(_ x: Expression, _ pass: Pass) -> Expression { pass.product(x, weightOut) }
}

extension Expression {
  /// A number for each head, (heads, 1, 1).
  static func byHead(_ values: [Double]) -> Expression {
    Expression.concatenate(values.map { .constant($0, [1]) }).reshaped([values.count, 1, 1])
  }

  /// Zeros behind an axis until its size is a multiple of `step`.
  func filled(toMultipleOf step: Int, axis: Int) -> Expression {
    padded(before: 0, after: (step - shape[axis] % step) % step, axis: axis)
  }

  /// Slopes 2^(-8 h / H), h = 1..H; where H is no power of two, those of the power below it and then every second one of
  /// the power above. Press, Smith and Lewis, 2021 (arXiv 2108.12409).
  static func linearBiasSlopes(_ heads: Int) -> [Double] {
    var power = 1
    while power * 2 <= heads { power *= 2 }
    return (0..<heads).map { h in
      exp2(-8 * (h < power ? Double(h + 1) : Double(h - power) + 0.5) / Double(power))
    }
  }
}
