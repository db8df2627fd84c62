import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

extension Optimizers {
  /// Weights w = C[codes], groups of neighbours as words of a table C. One step from one gradient G at the quantized w:
  ///
  ///     C <- C - Adam(sum of G over the groups of each word), w' = C[codes]
  ///     z = w' + buffer - code_lr * (bias-corrected Adam direction of G)
  ///     of the groups with the largest |z - w'| at most a share, and as long as the change is at most
  ///     code_trust_ratio * |w'|: codes <- nearest words to z
  ///     buffer <- (1 - delta_decay) (z - w)
  ///
  /// delta_decay 1 keeps no buffer; 0 is the straight-through buffer. The table starts, at the first step, with groups of
  /// w at even ranks of their sums. Biases and other vectors take Adam's step.
  static let pvTuning = Method.optimizer(
    "pv_tuning", "Trains weights that are words of a table: the words by Adam, and a few codes in each step.",
    Reference(
      "Malinovskii et al.", 2024, "PV-Tuning: Beyond Straight-Through Estimation for Extreme LLM Compression",
      arXiv: "2405.14852"),
    [
      .learningRate(3e-4), .real("code_lr", 0.003, in: .nonNegative, "The length of a step towards other codes."),
      .real("max_code_change_per_step", 0.01, in: .unit, "Share of groups that may change their codes."),
      .real("code_trust_ratio", 0.01, in: .nonNegative, "How far codes may move the weights, in parts of their norm."),
      .integer("beam_size", 1, in: 1...1, "Candidates of the search for codes; one table needs one."),
      .real("beta1", 0.9, in: .belowOne, "Average of the table's gradients."),
      .real("beta2", 0.95, in: .belowOne, "Average of their squares."),
      .real("code_beta1", 0, in: .belowOne, "Average of the gradients that move codes."),
      .real("code_beta2", 0.95, in: .belowOne, "Average of their squares."),
      .real("delta_decay", 0, in: .unit, "How much of what codes did not follow is forgotten in a step."),
      .integer("codebook_bits", 4, in: 1...8, "The table has 2 to this power words."),
      .integer("group_size", 1, in: 1...64, "Neighbouring weights that are one word."), .eps(1e-8),
    ], isElementwise: false
  ) { x in
    let shape = x.parameter.shape
    let (words, length) = (1 << x.integer("codebook_bits"), x.integer("group_size"))
    guard shape.rank >= 2, shape.count % length == 0, shape.count / length > words else {
      let m = x.average("first_moment", of: x.gradient, "beta1")
      let v = x.average("second_moment", of: square(x.gradient), "beta2")
      return x.parameter - x.adamStep(m, v)
    }
    let groups = shape.count / length
    let (w, g) = (x.parameter.reshaped([groups, length]), x.gradient.reshaped([groups, length]))
    let isFirst = x.number("is_first") { $0.step == 1 ? 1 : 0 }
    let kept = x.state("codebook", shape: [words, length])
    let table = Expression.select(isFirst, evenWords(w, words), kept)

    // P: the words.
    let taken = Expression.oneHot(nearest(w, table), columns: words)
    let slope = Expression.matmul(taken, g, transposeA: true)
    let m = x.real("beta1") * x.state("table_first", shape: [words, length]) + (1 - x.real("beta1")) * slope
    let v = x.real("beta2") * x.state("table_second", shape: [words, length]) + (1 - x.real("beta2")) * square(slope)
    x.set("table_first", to: m)
    x.set("table_second", to: v)
    let moved = table - x.adamStep(m, v)
    x.set("codebook", to: moved)
    let before = Expression.matmul(taken, moved)

    // V: a few codes.
    let codeBeta1 = x.real("code_beta1")
    let codeBeta2 = x.real("code_beta2")
    let first = codeBeta1 * x.state("code_first", shape: [groups, length]) + (1 - codeBeta1) * g
    let second = codeBeta2 * x.state("code_second", shape: [groups, length]) + (1 - codeBeta2) * square(g)
    x.set("code_first", to: first)
    x.set("code_second", to: second)
    let length1 = x.number("code_step") { 1 / (1 - pow(codeBeta1, Double($0.step))) }
    let length2 = x.number("code_root") { 1 / (1 - pow(codeBeta2, Double($0.step))).squareRoot() }
    let direction = length1 * first / (length2 * sqrt(second) + x.real("eps"))
    let buffer = x.state("buffer", shape: [groups, length])
    let target = before + buffer - x.real("code_lr") * direction
    let wanted = Expression.matmul(Expression.oneHot(nearest(target, moved), columns: words), moved)
    let order = square(target - before).sum().reshaped([1, groups]).sortOrder(descending: true)
    let places = order.sortOrder()
    let most = (x.real("max_code_change_per_step") * Double(groups)).rounded(.down)
    let change = square(wanted - before).sum().reshaped([1, groups]).takeAlong(order).cumulativeSum()
    let room = square(before).sumAll() * (x.real("code_trust_ratio") * x.real("code_trust_ratio"))
    let isFree = (change .<= room) .& (Expression.iota([1, groups]) .< most)
    let mayMove = isFree.takeAlong(places).reshaped([groups, 1])
    let result = Expression.select(mayMove .> 0, wanted, before)
    x.set("buffer", to: (target - result) * (1 - x.real("delta_decay")))
    return result.reshaped(shape)
  }

  /// For each row of w the index of the nearest row of the table, the lower of equals: the least |c|^2 - 2 w . c.
  private static func nearest(_ w: Expression, _ table: Expression) -> Expression {
    let sizes = square(table).sum().reshaped([1, table.shape[0]])
    return (sizes - 2 * Expression.matmul(w, table, transposeB: true)).argmin()
  }

  /// Rows of w at the middles of even parts, in the order of their sums.
  private static func evenWords(_ w: Expression, _ words: Int) -> Expression {
    let order = w.sum().reshaped([1, w.shape[0]]).sortOrder()
    let rows = (0..<words).map { word in
      let place = (2 * word + 1) * w.shape[0] / (2 * words)
      return order.slice(place..<(place + 1), axis: 1).reshaped([1])
    }
    return .concatenate(rows.map { w.gatherRows($0) })
  }
}
