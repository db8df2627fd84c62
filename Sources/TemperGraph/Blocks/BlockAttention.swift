import TemperCore

/// softmax(Q K^T scale) V without the (T, M) weights: tiles of scores are summed up with a running maximum and sum, and
/// computed again for the gradient. Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135.
///
/// The operation sees blocks of steps: queries (blocks, B, n, d), keys (blocks, B, m, d), values (blocks, B, m, e), a mask of the keys
/// (blocks, B, 1, m). Rows that see nothing give 0.
private struct BlockAttention {
  let scale: Double
  let isCausal: Bool
  let hasMask: Bool

  struct Tile: Hashable { let batch: Int, n: Int, m: Int, d: Int, e: Int, isDiagonal: Bool }

  private func scores(_ tile: Tile) -> Expression {
    let q = Expression.input("queries", [tile.batch, tile.n, tile.d])
    let z = Expression.matmul(q, .input("keys", [tile.batch, tile.m, tile.d]), transposeB: true) * scale
    var visible: Expression?
    if tile.isDiagonal {
      let (row, column) = (Expression.iota([tile.n, 1], axis: 0), Expression.iota([1, tile.m]))
      visible = (column + .input("column", [])) .<= (row + .input("row", []))
    }
    if hasMask {
      let mask = Expression.input("mask", [tile.batch, 1, tile.m])
      visible = visible.map { $0 .& mask } ?? mask
    }
    return visible.map { .select($0, z, .constant(-.infinity)) } ?? z
  }

  private static func finite(_ x: Expression) -> Expression { .select(x .== -.infinity, .constant(0), x) }

  func accumulation(_ tile: Tile) -> [Output] {
    let (z, rows) = (scores(tile), Shape([tile.batch, tile.n, 1]))
    let m = Expression.input("maximum", rows)
    let top = maximum(m, z.maximum())
    let shift = BlockAttention.finite(top)
    let (fade, weights) = (exp(m - shift), exp(z - shift))
    let values = Expression.input("values", [tile.batch, tile.m, tile.e])
    let seen = Expression.input("seen", [tile.batch, tile.n, tile.e])
    return [
      Output(top, inPlaceOf: "maximum"),
      Output(.input("sum", rows) * fade + weights.sum(), inPlaceOf: "sum"),
      Output(seen * fade + .matmul(weights, values), inPlaceOf: "seen"),
    ]
  }

  /// With p the weights: dV += p^T dO, dS = p (dO V^T - delta) scale, dQ += dS K, dK += dS^T Q, delta = sum of dO O.
  func gradients(_ tile: Tile) -> [Output] {
    let (b, n, m, d, e) = (tile.batch, tile.n, tile.m, tile.d, tile.e)
    let total = Expression.input("total", [b, n, 1])
    let p = exp(scores(tile) - BlockAttention.finite(total))
    let dy = Expression.input("dy", [b, n, e])
    let slope = Expression.matmul(dy, .input("values", [b, m, e]), transposeB: true) - .input("delta", [b, n, 1])
    let ds = p * slope * scale
    func adding(_ name: String, _ shape: Shape, _ part: Expression) -> Output {
      Output(.input(name, shape) + part, inPlaceOf: name)
    }
    return [
      adding("by queries", [b, n, d], .matmul(ds, .input("keys", [b, m, d]))),
      adding("by keys", [b, m, d], .matmul(ds, .input("queries", [b, n, d]), transposeA: true)),
      adding("by values", [b, m, e], .matmul(p, dy, transposeA: true)),
    ]
  }

  /// Result and log-sum-exp from whole arrays.
  func plain(_ x: [Expression]) -> [Expression] {
    func whole(_ x: Expression) -> Expression {
      x.permuted([1, 0, 2, 3]).reshaped([x.shape[1], x.shape[0] * x.shape[2], x.shape[3]])
    }
    let (q, k, v) = (whole(x[0]), whole(x[1]), whole(x[2]))
    var z = Expression.matmul(q, k, transposeB: true) * scale
    let (t, m) = (q.shape[1], k.shape[1])
    var visible: Expression?
    if isCausal { visible = .iota([t, m]) .<= .iota([t, m], axis: 0) }
    if hasMask {
      let mask = x[3].permuted([1, 2, 0, 3]).reshaped([q.shape[0], 1, m])
      visible = visible.map { $0 .& mask } ?? mask
    }
    if let visible { z = .select(visible, z, .constant(-.infinity)) }
    let top = z.maximum().stopGradient
    let weights = exp(z - BlockAttention.finite(top))
    let sum = weights.sum()
    let isEmpty = sum .== 0
    let safe = Expression.select(isEmpty, .constant(1), sum)
    func blocks(_ y: Expression) -> Expression {
      y.reshaped([q.shape[0], x[0].shape[0], x[0].shape[2], y.shape.last]).permuted([1, 0, 2, 3])
    }
    let total = Expression.select(isEmpty, .constant(-.infinity), BlockAttention.finite(top) + log(safe))
    return [blocks(.matmul(weights / safe, v)), blocks(total)]
  }

  /// Inputs beyond those of `plain`: the log-sum-exp, delta and dy.
  private func plainGradients(_ x: [Expression]) -> [Expression] {
    let own = x.dropLast(3).map { $0.apart }
    do throws(TemperError) {
      return try Differentiate.gradients(
        of: plain(own)[0], seed: x[x.count - 1], withRespectTo: Array(own.prefix(3)))
    } catch { return own.prefix(3).map { _ in .invalid(error) } }
  }

  func operation() -> CustomOperation {
    let backward = CustomOperation(
      name: "attention", definition: { plainGradients($0) },
      prepare: { (type, workers) throws(TemperError) in gradientBody(type, workers) })
    return CustomOperation(
      name: "attention", definition: { plain($0) },
      gradient: { output, inputs, results, dy in
        guard output == 0 else { return nil }
        let delta = (dy * results[0]).sum()
        let slopes = Expression.custom(backward, inputs + [results[1], delta, dy])
        return slopes.map { $0 } + inputs.dropFirst(3).map { _ in nil }
      },
      prepare: { (type, workers) throws(TemperError) in valueBody(type, workers) })
  }

  /// Calls `body` for each pair of blocks of queries and keys that see each other.
  private func forEachTile(
    _ x: [Tensor], _ body: (Tile, _ row: Int, _ column: Int, [String: Tensor]) throws(TemperError) -> Void
  ) throws(TemperError) {
    let (q, k, v) = (x[0].shape, x[1].shape, x[2].shape)
    for column in 0..<k[0] {
      var arrays = ["keys": try x[1].block(column), "values": try x[2].block(column)]
      if hasMask { arrays["mask"] = try x[3].block(column) }
      let (first, last) = (column * k[2], (column + 1) * k[2] - 1)
      arrays["column"] = try Tensor([Double(first)], shape: []).copy(as: x[0].dtype)
      for row in 0..<q[0] where !isCausal || (row + 1) * q[2] > first {
        arrays["queries"] = try x[0].block(row)
        arrays["row"] = try Tensor([Double(row * q[2])], shape: []).copy(as: x[0].dtype)
        let isDiagonal = isCausal && row * q[2] < last
        try body(Tile(batch: q[1], n: q[2], m: k[2], d: q[3], e: v[3], isDiagonal: isDiagonal), row, column, arrays)
      }
    }
  }

  private func valueBody(_ type: DType, _ workers: Workers) -> CustomOperation.Body {
    let accumulate = TilePlans<Tile>(type, workers) { accumulation($0) }
    let finish = TilePlans<Shape>(type, workers) { shape in
      let rows = Shape(shape.sizes.dropLast() + [1])
      let sum = Expression.input("sum", rows)
      let isEmpty = sum .== 0
      let safe = Expression.select(isEmpty, .constant(1), sum)
      return [
        Output(.input("seen", shape) / safe, inPlaceOf: "seen"),
        Output(.select(isEmpty, .constant(-.infinity), .input("maximum", rows) + log(safe))),
      ]
    }
    return { (x, outputs) throws(TemperError) in
      let shape = Shape(Array(x[0].shape.sizes.dropLast()) + [x[2].shape[3]])
      let rows = Shape(Array(x[0].shape.sizes.dropLast()) + [1])
      var state = ["maximum": try Tensor(zeros: rows, type), "sum": try Tensor(zeros: rows, type)]
      try state["maximum"]?.fill(-.infinity)
      state["seen"] = try outputs[0].orZeros(shape, type)
      try state["seen"]?.fill(0)
      try forEachTile(x) { (tile, row, _, arrays) throws(TemperError) in
        var arrays = arrays
        for (name, tensor) in state { arrays[name] = try tensor.block(row) }
        try accumulate.run(tile, arrays)
      }
      try finish.run(shape, state, outputs.count > 1 ? outputs[1].map { [1: $0] } ?? [:] : [:])
    }
  }

  private func gradientBody(_ type: DType, _ workers: Workers) -> CustomOperation.Body {
    let plans = TilePlans<Tile>(type, workers) { gradients($0) }
    return { (x, outputs) throws(TemperError) in
      var sums: [String: Tensor] = [:]
      for (index, name) in ["by queries", "by keys", "by values"].enumerated() {
        let sum = try (index < outputs.count ? outputs[index] : nil).orZeros(x[index].shape, type)
        try sum.fill(0)
        sums[name] = sum
      }
      try forEachTile(x) { (tile, row, column, arrays) throws(TemperError) in
        var arrays = arrays
        for (offset, name) in ["total", "delta", "dy"].enumerated() {
          arrays[name] = try x[x.count - 3 + offset].block(row)
        }
        for (name, sum) in sums { arrays[name] = try sum.block(name == "by queries" ? row : column) }
        try plans.run(tile, arrays)
      }
    }
  }
}

extension Tensor {
  /// Element `index` of the first axis, without that axis.
  fileprivate func block(_ index: Int) throws(TemperError) -> Tensor {
    try slice(index..<(index + 1)).reshaped(Shape(Array(shape.sizes.dropFirst())))
  }
}

extension Expression {
  /// softmax(Q K^T scale) V for (..., T, d), (..., M, d), (..., M, e), in memory that grows with T + M and not with T M. `keys` is a
  /// mask (..., M) of those that may be seen; with `causal` step t sees no step after itself.
  package static func blockAttention(
    _ queries: Expression, _ keys: Expression, _ values: Expression, scale: Double, isCausal: Bool = false,
    mask: Expression? = nil
  ) -> Expression {
    if let broken = [queries, keys, values, mask ?? values].first(where: { $0.error != nil }) { return broken }
    let (q, k, v) = (queries.shape, keys.shape, values.shape)
    guard q.rank >= 2, k.rank == q.rank, v.rank == q.rank, q.last == k.last, k[k.rank - 2] == v[v.rank - 2],
      q.sizes.dropLast(2) == k.sizes.dropLast(2),
      q.sizes.dropLast(2) == v.sizes.dropLast(2)
    else {
      return .invalid(.invalidShape, "attention: queries \(q), keys \(k) and values \(v) do not fit.")
    }
    let batch = q.sizes.dropLast(2).reduce(1, *)
    let (t, m) = (q[q.rank - 2], k[k.rank - 2])
    // Tiles of scores of some megabytes: large enough for products, small against the arrays they are for.
    var side = 256
    while side > 16, batch * side * side > 1 << 22 { side /= 2 }
    func blocks(_ x: Expression, _ steps: Int) -> Expression {
      let size = min(side, steps)
      let flat = x.reshaped([batch, steps, x.shape.last])
      let filled = flat.padded(before: 0, after: (size - steps % size) % size, axis: 1)
      return filled.reshaped([batch, filled.shape[1] / size, size, x.shape.last]).permuted([1, 0, 2, 3])
    }
    let isFilled = m % min(side, m) != 0
    var inputs = [blocks(queries, t), blocks(keys, m), blocks(values, m)]
    if mask != nil || isFilled {
      let steps = Shape(Array(k.sizes.dropLast()))
      let visible = mask.map { $0.broadcast(to: steps) } ?? .constant(1, steps)
      if let error = visible.error { return .invalid(error) }
      inputs.append(blocks(visible.reshaped([batch, m, 1]), m).permuted([0, 1, 3, 2]))
    }
    let operation = BlockAttention(scale: scale, isCausal: isCausal, hasMask: inputs.count > 3).operation()
    let seen = Expression.custom(operation, inputs)[0]
    if let error = seen.error { return .invalid(error) }
    let rows = seen.permuted([1, 0, 2, 3]).reshaped([batch, seen.shape[0] * seen.shape[2], v.last])
    return rows.slice(0..<t, axis: 1).reshaped(Shape(q.sizes.dropLast() + [v.last]))
  }
}
