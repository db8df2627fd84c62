import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// O_t = sum over s <= t of lambda_h^(t - s) (q_t . k_s) v_s for each head, q and k through silu; the heads' outputs over their
  /// root mean square, times a gate, times W_o^T. lambda_h = exp(-slope_h (1 - l / (L - 1) + 1e-5)) in layer l of L, or
  /// exp(-(8 h / H) (1 - l / L)).
  static let decayedLinearAttention = Method.layer(
    "decayed_linear_attention", summary: "Causal attention without softmax that forgets: linear in the steps.",
    reference: Reference(
      "Qin et al.", 2023, "Scaling TransNormer to 175 Billion Parameters", arXiv: "2307.14995"),
    options: Heads.options + [
      .choice("decay", ["alibi", "linear"], "Slopes 2^(-8h/H), as the released code has them, or 8h/H, as the text."),
      .integer("layer", 0, in: 0...65_535, "Which layer this is of those, from 0: later ones forget less."),
      .integer("layers", 1, in: 1...65_536, "How many layers there are."),
      .boolean("lrpe", false, "Trained angles turn queries and keys by their step, as in the first layer."),
      .real("lrpe_base", 10_000, in: .positive, "Of the angles at the start."),
      .integer("block", 64, in: 1...65_536, "Steps that are worked on at once; the result does not depend on it."),
      .real("eps", 1e-8, in: .positive, "Added to the root mean square."),
    ],
    main: "heads"
  ) { (layer) throws(TemperError) in
    let heads = try Heads(layer, projections: 4)
    let (l, count) = (layer.integer("layer"), layer.integer("layers"))
    guard l < count else { throw TemperError(.outOfRange, "Layer \(l) is none of \(count), counted from 0.") }
    let rates: [Double]
    if layer.text("decay") == "linear" {
      let share = 1 - Double(l) / Double(count)
      rates = (1...heads.count).map { 8 * Double($0) / Double(heads.count) * share }
    } else {
      let share = count == 1 ? 1 : 1 - Double(l) / Double(count - 1) + 1e-5
      rates = Expression.linearBiasSlopes(heads.count).map { $0 * share }
    }
    let (block, eps, base) = (layer.integer("block"), layer.real("eps"), layer.real("lrpe_base"))
    let angles = (0..<heads.width).map { pow(base, -2 * Double($0) / Double(heads.width)) }
    let theta =
      layer.boolean("lrpe") ? try layer.parameter("theta", [heads.count, heads.size], .values(angles)) : nil
    return { x, pass in
      let parts = heads.project(x, pass)
      func feature(_ x: Expression) -> Expression {
        let y = heads.split(x * sigmoid(x))
        guard let theta else { return y }
        let angle =
          Expression.iota([heads.steps, 1], axis: 0) * pass[theta].reshaped([heads.count, 1, heads.size])
        return .concatenate([y * cos(angle), y * sin(angle)], axis: -1)
      }
      let seen = Expression.decayedLinearAttention(
        feature(parts[0]), feature(parts[1]), heads.split(parts[2]), rates: rates, block: block)
      return heads.output(heads.joined(seen).overRootMeanSquare(eps: eps) * parts[3], pass)
    }
  }
}

extension Expression {
  /// x / (|x| / sqrt(d) + eps) along the last axis.
  fileprivate func overRootMeanSquare(eps: Double) -> Expression {
    let squares = square(self).mean()
    let isZero = squares .== 0
    let size = Expression.select(isZero, .constant(0), TemperGraph.sqrt(.select(isZero, .constant(1), squares)))
    return self / (size + eps)
  }

  /// exp(-rate e) for steps e >= 0; 1 at e = 0 also for an infinite rate.
  private static func decay(_ rates: Expression, _ steps: Expression) -> Expression {
    .select(steps .== 0, .constant(1), TemperGraph.exp(-(rates * steps)))
  }

  /// sum over s <= t of exp(-rate (t - s)) (q_t . k_s) v_s: q, k (N, H, T, d), v (N, H, T, e), a rate for each head. Blocks of
  /// steps see each other through the sums of k^T v that came before them, so no power of a growth is ever formed.
  static func decayedLinearAttention(
    _ q: Expression, _ k: Expression, _ v: Expression, rates: [Double], block: Int
  ) -> Expression {
    let (n, h, steps) = (q.shape[0], q.shape[1], q.shape[2])
    let b = Swift.min(block, steps)
    func blocks(_ x: Expression) -> Expression {
      let filled = x.filled(toMultipleOf: b, axis: 2)
      return filled.reshaped([n, h, filled.shape[2] / b, b, x.shape.last])
    }
    let (queries, keys, values) = (blocks(q), blocks(k), blocks(v))
    let rate = byHead(rates).reshaped([h, 1, 1, 1])
    let step = Expression.iota([b, 1], axis: 0)
    let distance = step - .iota([1, b])
    let mask = Expression.select(distance .< 0, .constant(0), decay(rate, TemperGraph.maximum(distance, 0)))
    let inside = Expression.matmul(.matmul(queries, keys, transposeB: true) * mask, values)
    let count = queries.shape[2]
    guard count > 1 else { return inside.reshaped([n, h, b, v.shape.last]).slice(0..<steps, axis: 2) }
    // What each block leaves behind at its end, and what has come together before each block.
    let left = Expression.matmul(keys * decay(rate, Double(b - 1) - step), values, transposeA: true)
    let (d, e) = (left.shape[3], left.shape[4])
    let before = left.reshaped([n, h, count, d * e])
      .decayedPrefixes(rates: rates.map { $0 * Double(b) }, block: Swift.max(block, 2)).reshaped([n, h, count, d, e])
    let sum = inside + .matmul(queries * decay(rate, step + 1), before)
    return sum.reshaped([n, h, count * b, e]).slice(0..<steps, axis: 2)
  }

  /// y_c = sum over c' < c of exp(-rate (c - 1 - c')) x_c' for (N, H, C, w), in groups, and groups of groups.
  private func decayedPrefixes(rates: [Double], block: Int) -> Expression {
    let (n, h, count, w) = (shape[0], shape[1], shape[2], shape[3])
    let b = Swift.min(block, count)
    let filled = filled(toMultipleOf: b, axis: 2)
    let groups = filled.shape[2] / b
    let x = filled.reshaped([n, h, groups, b, w])
    let rate = Expression.byHead(rates).reshaped([h, 1, 1, 1])
    let place = Expression.iota([b, 1], axis: 0)
    let distance = place - .iota([1, b]) - 1
    let mask = Expression.select(distance .< 0, .constant(0), Expression.decay(rate, TemperGraph.maximum(distance, 0)))
    var y = Expression.matmul(mask.broadcast(to: [n, h, groups, b, b]), x)
    if groups > 1 {
      let totals = (x * Expression.decay(rate, Double(b - 1) - place)).sum(axis: 3).reshaped([n, h, groups, w])
      let before = totals.decayedPrefixes(rates: rates.map { $0 * Double(b) }, block: block)
      y = y + before.reshaped([n, h, groups, 1, w]) * Expression.decay(rate, place)
    }
    return y.reshaped([n, h, groups * b, w]).slice(0..<count, axis: 2)
  }
}
