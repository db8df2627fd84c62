import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// The mean over codebooks c (and positions) of v_c,m, m the key nearest to u_c = P_c^T z. P is fixed, keys follow the
  /// data by moving averages for `key_init_steps` steps and are fixed then, and only then values train: a step on one
  /// input changes nothing for inputs that share no key with it.
  static let discreteKeyValueBottleneck = Method.layer(
    "discrete_key_value_bottleneck", area: "regularize",
    summary: "Looks up trained values by the nearest of fixed keys, so that learning is local and little is forgotten.",
    reference: Reference("Träuble et al.", 2023, "Discrete Key-Value Bottleneck", arXiv: "2207.11240"),
    options: [
      .size("size", "Width of a value: the classes, where it is the last layer.").named(also: "d_val"),
      .integer("codebooks", 64, in: 1...65_536, "Codebooks."),
      .integer("keys_per_codebook", 4096, in: 1...(1 << 20), "Keys in a codebook."),
      .integer("d_key", 12, in: 1...65_536, "Width of a key."),
      .real("ema_decay", 0.9, in: .unit, "Weight of the old keys while they follow the data; 0: a step of k-means."),
      .integer("key_init_steps", 100, in: 0...(1 << 24), "Steps of training in which keys follow the data."),
      .real(
        "dead_key_threshold", 0.1, in: .nonNegative, "A key with less than this times an even share moves to an input."),
      .choice("value_init", ["normal", "zeros"], "How values start: N(0, 1) or 0."),
    ], main: "size"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...2, "samples (width,) or positions (positions, width)")
    let (width, size, books) = (layer.input.last, layer.integer("size"), layer.integer("codebooks"))
    let (keys, inner) = (layer.integer("keys_per_codebook"), layer.integer("d_key"))
    let (decay, steps, least) = (
      layer.real("ema_decay"), layer.integer("key_init_steps"), layer.real("dead_key_threshold")
    )
    let positions = layer.input.rank == 2 ? layer.input[0] : 1
    try layer.requireSize([books, max(positions, width), max(inner, keys)])
    try layer.requireSize([books, keys, max(size, inner)])
    let projection = try layer.parameter(
      "projection", [books, width, inner], .glorotNormal(gain: 1), fanIn: width, fanOut: inner, isFrozen: true)
    let values = try layer.parameter(
      "values", [books, keys, size], layer.text("value_init") == "zeros" ? .zeros : .normal(mean: 0, std: 1))
    let table = try layer.buffer("keys", [books, keys, inner], .normal(mean: 0, std: 1))
    let counts = try layer.buffer("key_counts", [books, keys, 1], .ones)
    let sums = try layer.buffer("key_sums", [books, keys, inner], .zeros)
    let seen = try layer.buffer("key_steps", [1], initial: 0)
    layer.start(sums) { model throws(TemperError) in try model.values(table) }
    return { x, pass in
      let (batch, rows) = (x.shape[0], x.shape[0] * positions)
      let u = Expression.matmul(x.reshaped([rows, width]).stopGradient, pass[projection])  // (C, rows, d)
      let current = pass[table]
      // |u - k|^2 without |u|^2, which is the same for all keys.
      let distance = square(current).sum().transposed - 2 * Expression.matmul(u, current, transposeB: true)
      let chosen = Expression.oneHot(distance.argmin(), columns: keys)
      var result = Expression.matmul(chosen, pass[values]).reshaped([books, batch, positions, size])
        .mean(axes: [0, 2]).reshaped([batch, size])
      guard pass.mode == .training, steps > 0 else { return result }
      let isMoving = pass[seen] .< Double(steps)
      result = .select(isMoving, result.stopGradient, result)
      func moved(_ name: String, _ value: Expression) -> Expression { decay * pass[name] + (1 - decay) * value }
      let even = Double(rows) / Double(keys)
      let taken = moved(counts, chosen.sum(axis: 1).transposed)
      let total = moved(sums, Expression.matmul(chosen, u, transposeA: true))
      let pick = Expression.oneHot(floor(pass.uniform([books, keys, 1]) * Double(rows)), columns: rows)
      let isDead = taken .< (least * even)
      let newCounts = Expression.select(isDead, .constant(max(even, 1e-12)), taken)
      let seeds = Expression.matmul(pick, u)
      let newKeys = Expression.select(isDead, seeds, total / maximum(taken, 1e-12))
      func keep(_ name: String, _ value: Expression) { pass.update(name, to: .select(isMoving, value, pass[name])) }
      keep(counts, newCounts)
      keep(sums, newKeys * newCounts)
      keep(table, newKeys)
      pass.update(seen, to: minimum(pass[seen] + 1, Double(steps)))
      return result
    }
  }
}
