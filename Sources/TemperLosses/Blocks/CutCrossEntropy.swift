import TemperCore
import TemperGraph

/// Linear layer and cross-entropy without the (N, C) logits: tiles of them are computed, used, and computed again for the
/// gradient. z = E C^T + b, bent to t tanh(z / t) with a cap t; value = logsumexp z - z_y. Wijmans et al., arXiv 2411.09009.
struct CutCrossEntropy {
  let cap: Double?
  /// Tiles of the gradient in which every |p - [y]| is below this are left out.
  let filter: Double
  let rows: Int
  let columns: Int
  let hasBias: Bool

  /// The value by token, (N, 1), from features (N, D), classifier (C, D), targets (N, 1) and perhaps bias (C,).
  static func value(
    _ features: Expression, _ classifier: Expression, _ targets: Expression, bias: Expression?, cap: Double?,
    filter: Double
  ) -> Expression {
    // Without the filter tiles are as large as products like them, and no whole pages wide: rows a page apart share few
    // cache sets. With it they are as small as what may be left out.
    let cut = CutCrossEntropy(
      cap: cap, filter: filter, rows: filter > 0 ? 128 : 512, columns: filter > 0 ? 256 : 992, hasBias: bias != nil)
    let backward = CustomOperation(
      name: "cut_cross_entropy", definition: { cut.plainGradient($0) },
      prepare: { (type, workers) throws(TemperError) in cut.gradientBody(type, workers) })
    let forward = CustomOperation(
      name: "cut_cross_entropy", definition: { cut.plain($0) },
      gradient: { output, inputs, results, dy in
        // The log-sum-exp is there for the gradient, and has one of its own in second derivatives alone.
        guard output == 0 else { return nil }
        let slopes = Expression.custom(backward, inputs + [results[1], dy])
        return [slopes[0], slopes[1], nil] + slopes.dropFirst(2).map { $0 }
      },
      prepare: { (type, workers) throws(TemperError) in cut.valueBody(type, workers) })
    return Expression.custom(forward, [features, classifier, targets] + (bias.map { [$0] } ?? []))[0]
  }

  /// Inputs in order: features, classifier, targets, bias if there is one.
  private func logits(_ x: [Expression]) -> Expression {
    let z = Expression.matmul(x[0], x[1], transposeB: true)
    return bent(hasBias ? z + x[3] : z)
  }

  private func bent(_ z: Expression) -> Expression { cap.map { $0 * tanh(z / $0) } ?? z }

  /// Value and log-sum-exp, (N, 1) each.
  private func plain(_ x: [Expression]) -> [Expression] {
    let z = logits(x)
    if let error = z.error { return [.invalid(error), .invalid(error)] }
    let total = z.logSumExp()
    return [total - z.pick(x[2]), total]
  }

  /// The gradients by features, classifier and bias; the last two inputs are the log-sum-exp and dy.
  private func plainGradient(_ x: [Expression]) -> [Expression] {
    let g = slope(logits(x), x[2], total: x[x.count - 2], x[x.count - 1])
    return [.matmul(g, x[1]), .matmul(g, x[0], transposeA: true)]
      + (hasBias ? [g.sum(axis: 0).reshaped([x[1].shape[0]])] : [])
  }

  /// dy (p - [y]), times 1 - (z / t)^2 where z is capped. An index outside the columns marks nothing.
  private func slope(_ z: Expression, _ index: Expression, total: Expression, _ dy: Expression) -> Expression {
    let g = (exp(z - total) - .oneHot(index, columns: z.shape.last)) * dy
    return cap.map { g * (1 - square(z / $0)) } ?? g
  }

  // Tiles: `n` tokens by `c` classes, of features of width `d`, from class `start` on.

  private struct Tile: Hashable { let n: Int, c: Int, d: Int }

  private func tileLogits(_ tile: Tile) -> Expression {
    let (features, classifier) = (
      Expression.input("features", [tile.n, tile.d]), Expression.input("classifier", [tile.c, tile.d])
    )
    let z = Expression.matmul(features, classifier, transposeB: true)
    return bent(hasBias ? z + .input("bias", [tile.c]) : z)
  }

  private func tileIndex(_ tile: Tile) -> Expression {
    .input("targets", [tile.n, 1], .index) - Expression.input("start", [])
  }

  /// The running maximum, sum of exponentials and logit of the target, each in place.
  private func accumulation(_ tile: Tile) -> [Output] {
    let z = tileLogits(tile)
    let (m, s, y) = (
      Expression.input("maximum", [tile.n, 1]), Expression.input("sum", [tile.n, 1]),
      Expression.input("target", [tile.n, 1])
    )
    let top = maximum(m, z.maximum())
    let shift = Expression.select(top .== -.infinity, .constant(0), top)
    let sum = s * exp(m - shift) + exp(z - shift).sum()
    return [
      Output(top, inPlaceOf: "maximum"), Output(sum, inPlaceOf: "sum"),
      Output(y + z.pick(tileIndex(tile)), inPlaceOf: "target"),
    ]
  }

  /// The tile's slopes, and with a filter how far from 0 p - [y] goes.
  private func slopes(_ tile: Tile) -> [Output] {
    let (z, index) = (tileLogits(tile), tileIndex(tile))
    let total = Expression.input("total", [tile.n, 1])
    let g = slope(z, index, total: total, .input("dy", [tile.n, 1]))
    if filter == 0 { return [Output(g)] }
    return [Output(g), Output(abs(exp(z - total) - .oneHot(index, columns: tile.c)).maximum().maximum(axis: 0))]
  }

  /// What the slopes add to the gradients.
  private func products(_ tile: Tile) -> [Output] {
    let (n, c, d) = (tile.n, tile.c, tile.d)
    let g = Expression.input("slopes", [n, c])
    func adding(_ name: String, _ shape: Shape, _ part: Expression) -> Output {
      Output(.input(name, shape) + part.reshaped(shape), inPlaceOf: name)
    }
    return [
      adding("by features", [n, d], .matmul(g, .input("classifier", [c, d]))),
      adding("by classifier", [c, d], .matmul(g, .input("features", [n, d]), transposeA: true)),
    ] + (hasBias ? [adding("by bias", [c], g.sum(axis: 0))] : [])
  }

  /// Calls `body` for every tile with the arrays that all plans read, the class blocks outside.
  private func forEachTile(
    _ x: [Tensor],
    _ body: (Tile, _ tokens: Range<Int>, _ classes: Range<Int>, [String: Tensor]) throws(TemperError) -> Void
  ) throws(TemperError) {
    let (tokens, classes, width) = (x[0].shape[0], x[1].shape[0], x[0].shape[1])
    for start in stride(from: 0, to: classes, by: columns) {
      let block = start..<min(start + columns, classes)
      var arrays = [
        "classifier": try x[1].slice(block), "start": try Tensor([Double(start)], shape: []).copy(as: x[0].dtype),
      ]
      if hasBias { arrays["bias"] = try x[3].slice(block) }
      for first in stride(from: 0, to: tokens, by: rows) {
        let part = first..<min(first + rows, tokens)
        arrays["features"] = try x[0].slice(part)
        arrays["targets"] = try x[2].slice(part)
        try body(Tile(n: part.count, c: block.count, d: width), part, block, arrays)
      }
    }
  }

  private func valueBody(_ type: DType, _ workers: Workers) -> CustomOperation.Body {
    let accumulate = TilePlans<Tile>(type, workers) { accumulation($0) }
    let finish = TilePlans<Int>(type, workers) { n in
      let total = Expression.input("maximum", [n, 1]) + log(.input("sum", [n, 1]))
      return [Output(total - .input("target", [n, 1])), Output(total)]
    }
    return { (x, outputs) throws(TemperError) in
      let n = x[0].shape[0]
      var state: [String: Tensor] = [:]
      for (name, initial) in [("maximum", -Double.infinity), ("sum", 0), ("target", 0)] {
        let tensor = try Tensor(zeros: [n, 1], type)
        try tensor.fill(initial)
        state[name] = tensor
      }
      try forEachTile(x) { (tile, tokens, _, arrays) throws(TemperError) in
        var arrays = arrays
        for (name, tensor) in state { arrays[name] = try tensor.slice(tokens) }
        try accumulate.run(tile, arrays)
      }
      var targets: [Int: Tensor] = [:]
      for (index, tensor) in outputs.enumerated() { targets[index] = tensor }
      try finish.run(n, state, targets)
    }
  }

  private func gradientBody(_ type: DType, _ workers: Workers) -> CustomOperation.Body {
    let (slopes, products) = (
      TilePlans<Tile>(type, workers) { self.slopes($0) }, TilePlans<Tile>(type, workers) { self.products($0) }
    )
    return { (x, outputs) throws(TemperError) in
      var sums: [Tensor] = []
      for (index, shape) in ([x[0].shape, x[1].shape] + (hasBias ? [x[3].shape] : [])).enumerated() {
        // What nobody asked for is summed all the same, where it can be forgotten.
        let sum = try (index < outputs.count ? outputs[index] : nil).orZeros(shape, type)
        try sum.fill(0)
        sums.append(sum)
      }
      let memory = try Tensor(zeros: [min(rows, x[0].shape[0]) * min(columns, x[1].shape[0])], type)
      let peak = try Tensor(zeros: [1, 1], type)
      try forEachTile(x) { (tile, tokens, classes, arrays) throws(TemperError) in
        var arrays = arrays
        arrays["total"] = try x[x.count - 2].slice(tokens)
        arrays["dy"] = try x[x.count - 1].slice(tokens)
        let g = try memory.slice(0..<(tile.n * tile.c)).reshaped([tile.n, tile.c])
        try slopes.run(tile, arrays, filter > 0 ? [0: g, 1: peak] : [0: g])
        if filter > 0, peak.scalar < filter { return }
        arrays["slopes"] = g
        arrays["by features"] = try sums[0].slice(tokens)
        arrays["by classifier"] = try sums[1].slice(classes)
        if hasBias { arrays["by bias"] = try sums[2].slice(classes) }
        try products.run(tile, arrays)
      }
    }
  }
}
