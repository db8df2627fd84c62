import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// o_m = sum over m - w < n <= m of sigmoid((R_m q_m) . (R_n k_n) / sqrt d + s_h (m - n)) v_n for each head, R the rotation of
  /// rotary positions, times W_o^T. Half of the heads have s_h = -2^(-8k/H), the other half +2^(-8k/H), k = 1..H/2.
  static let slidingWindowAttention = Method.layer(
    "swat_sigmoid_window_attention", summary: "Causal attention over a window, by sigmoids in place of a softmax.",
    reference: Reference(
      "Fu et al.", 2025, "Sliding Window Attention Training for Efficient Large Language Models",
      arXiv: "2502.18845"),
    options: Heads.options + [
      .integer("window", 128, in: 1...(1 << 30), "Steps that a step sees, itself included."),
      .real("rope_theta", 10_000, in: .positive, "Base of the angles of rotary positions."),
      .choice(
        "slopes", ["balanced", "recency", "none"],
        "Half of the heads prefer what is near and half what is far; or all what is near; or none."),
      .boolean("normalise_bias", false, "Take log(window) off the scores, so that sums start small."),
    ],
    main: "heads"
  ) { (layer) throws(TemperError) in
    let heads = try Heads(layer, projections: 3)
    guard heads.size % 2 == 0 else {
      throw TemperError(.invalidShape, "Rotary positions turn pairs of features; a head has \(heads.size).")
    }
    let (window, base) = (layer.integer("window"), layer.real("rope_theta"))
    let slopes = windowSlopes(heads.count, layer.text("slopes"))
    let bias = layer.boolean("normalise_bias") ? -log(Double(window)) : 0
    return { x, pass in
      let parts = heads.project(x, pass)
      let scale = 1 / Double(heads.size).squareRoot()
      let seen = Expression.windowAttention(
        heads.split(parts[0]).rotated(base: base, isInterleaved: true) * scale,
        heads.split(parts[1]).rotated(base: base, isInterleaved: true), heads.split(parts[2]),
        window: window, slopes: slopes, bias: bias)
      return heads.output(heads.joined(seen), pass)
    }
  }

  /// Of an odd number of heads the one in the middle has no slope.
  private static func windowSlopes(_ heads: Int, _ form: String) -> [Double] {
    func slope(_ k: Int) -> Double { exp2(-8 * Double(k) / Double(heads)) }
    switch form {
    case "none": return [Double](repeating: 0, count: heads)
    case "recency": return (1...heads).map { -slope($0) }
    default:
      let half = (0..<(heads / 2)).map { slope($0 + 1) }
      return half.map { -$0 } + [Double](repeating: 0, count: heads % 2) + half
    }
  }
}

extension Expression {
  /// sum over the window of sigmoid(q_m . k_n + slope (m - n) + bias) v_n for q, k, v (N, H, T, d). Blocks as long as the window
  /// see themselves and the block before: scores take T times two windows and not T times T.
  static func windowAttention(
    _ q: Expression, _ k: Expression, _ v: Expression, window: Int, slopes: [Double], bias: Double
  ) -> Expression {
    let (n, h, steps) = (q.shape[0], q.shape[1], q.shape[2])
    let b = Swift.min(window, steps)
    func blocks(_ x: Expression) -> Expression {
      let filled = x.filled(toMultipleOf: b, axis: 2)
      return filled.reshaped([n, h, filled.shape[2] / b, b, x.shape.last])
    }
    /// Each block behind the one before it; before the first one are zeros, which add nothing to a sum of values.
    func withPrevious(_ x: Expression) -> Expression {
      let own = blocks(x)
      let count = own.shape[2]
      if count == 1 { return own }
      let previous = own.slice(0..<(count - 1), axis: 2).padded(before: 1, after: 0, axis: 2)
      return .concatenate([previous, own], axis: 3)
    }
    let (queries, keys, values) = (blocks(q), withPrevious(k), withPrevious(v))
    let width = keys.shape[3]
    let distance = Expression.iota([b, width], axis: 0) + Double(width - b) - .iota([b, width])
    let isSeen = (distance .>= 0) .& (distance .< Double(window))
    let slope = byHead(slopes).reshaped([h, 1, 1, 1]) * distance.reshaped([1, b, width])
    let scores = Expression.matmul(queries, keys, transposeB: true) + slope + bias
    let weights = Expression.select(isSeen, sigmoid(scores), .constant(0))
    let sum = Expression.matmul(weights, values)
    return sum.reshaped([n, h, queries.shape[2] * b, v.shape.last]).slice(0..<steps, axis: 2)
  }
}
