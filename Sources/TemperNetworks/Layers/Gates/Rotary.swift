import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// Pairs of features at step t turned by the angle t / base^(2 i / D): scores of two such vectors depend on the
  /// distance of their steps.
  static let rotaryEmbedding = Method.layer(
    "rotary_embedding", aliases: ["rope"],
    summary: "Turns pairs of features of a sequence (steps, width), or of heads (heads, steps, width), by their step.",
    reference: Reference(
      "Su, Lu, Pan, Murtadha, Wen, Liu", 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding",
      arXiv: "2104.09864"),
    options: [
      .real("base", 10_000, in: .positive, "Of the angles."),
      .choice("pairs", ["interleaved", "halves"], "Features 2i and 2i + 1 are a pair, or i and i + D / 2."),
    ], main: "base"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(2...3, "sequences (steps, width) or heads (heads, steps, width)")
    guard layer.input.last % 2 == 0 else {
      throw TemperError(.invalidShape, "The width is made of pairs; \(layer.input.last) came.")
    }
    let (base, isInterleaved) = (layer.real("base"), layer.text("pairs") == "interleaved")
    return { x, _ in x.rotated(base: base, isInterleaved: isInterleaved) }
  }
}

extension Expression {
  /// (..., T, D): (a, b) -> (a cos - b sin, a sin + b cos) for each pair.
  func rotated(base: Double, isInterleaved: Bool) -> Expression {
    let (steps, half) = (shape[shape.rank - 2], shape.last / 2)
    let frequency = exp(Expression.iota([steps, half]) * (-log(base) / Double(half)))
    let angle = Expression.iota([steps, half], axis: 0) * frequency
    let (c, s) = (cos(angle), sin(angle))
    if !isInterleaved {
      let (a, b) = (slice(0..<half, axis: -1), slice(half..<(2 * half), axis: -1))
      return .concatenate([a * c - b * s, a * s + b * c], axis: -1)
    }
    let pairs = reshaped(Shape(shape.sizes.dropLast() + [half, 2]))
    let (a, b) = (pairs.slice(0..<1, axis: -1).squeezed(), pairs.slice(1..<2, axis: -1).squeezed())
    return Expression.concatenate([(a * c - b * s).expanded(), (a * s + b * c).expanded()], axis: -1).reshaped(shape)
  }

  /// -slope_h |i - j| for head h, (heads, T, T).
  static func linearBiases(heads: Int, steps: Int) -> Expression {
    let distance = abs(Expression.iota([steps, steps]) - Expression.iota([steps, steps], axis: 0))
    return -(byHead(linearBiasSlopes(heads)) * distance)
  }
}
