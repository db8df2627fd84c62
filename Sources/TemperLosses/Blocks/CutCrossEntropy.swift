import TemperCore
import TemperGraph

/// Linear layer and cross-entropy without the (N, C) logits: tiles of them are computed, used, and computed again for the
/// gradient; or, where value and gradient are asked for together, blocks of whole rows are computed once for both.
/// z = E C^T + b, bent to t tanh(z / t) with a cap t; value = logsumexp z - z_y. Wijmans et al., arXiv 2411.09009.
struct CutCrossEntropy {
  let cap: Double?
  /// Tiles of the gradient in which every |p - [y]| is below this are left out.
  let filter: Double
  let rows: Int
  let columns: Int
  let hasBias: Bool

  /// Logits of a block of whole rows, in float32 (float64: half as many), and the fewest rows that are worth one.
  private static let heldElements = 1 << 24, fewestRows = 128

  /// The value by token, (N, 1), from features (N, D), classifier (C, D), targets (N, 1) and perhaps bias (C,).
  static func value(
    _ features: Expression, _ classifier: Expression, _ targets: Expression, bias: Expression?, cap: Double?,
    filter: Double
  ) -> Expression {
    // Without the filter tiles are as large as products like them, and no whole pages wide: rows a page apart share few
    // cache sets. With it they are as small as what may be left out.
    let cut = CutCrossEntropy(
      cap: cap, filter: filter, rows: filter > 0 ? 128 : 512, columns: filter > 0 ? 256 : 992, hasBias: bias != nil)
    // The filter needs the tiles, and of very many classes few rows fit into what a block may hold.
    let isJoint = filter == 0 && classifier.shape[0] <= CutCrossEntropy.heldElements / CutCrossEntropy.fewestRows
    let joint = CustomOperation(
      name: "cut_cross_entropy",
      definition: { x in
        let both = cut.plain(x.dropLast())
        return both + cut.plainGradient(x.dropLast() + [both[1], x[x.count - 1]])
      },
      prepare: { (type, workers) throws(TemperError) in cut.jointBody(type, workers) })
    let backward = CustomOperation(
      name: "cut_cross_entropy", definition: { cut.plainGradient($0) }, joint: isJoint ? joint : nil,
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
    let z = logits(x)
    let g = slope(exp(z - x[x.count - 2]), z, x[2], x[x.count - 1])
    return [.matmul(g, x[1]), .matmul(g, x[0], transposeA: true)]
      + (hasBias ? [g.sum(axis: 0).reshaped([x[1].shape[0]])] : [])
  }

  /// dy (p - [y]), times 1 - (z / t)^2 where z is capped. An index outside the columns marks nothing.
  private func slope(_ p: Expression, _ z: Expression, _ index: Expression, _ dy: Expression) -> Expression {
    let g = (p - .oneHot(index, columns: z.shape.last)) * dy
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
    let g = slope(exp(z - total), z, index, .input("dy", [tile.n, 1]))
    if filter == 0 { return [Output(g)] }
    return [Output(g), Output(abs(exp(z - total) - .oneHot(index, columns: tile.c)).maximum().maximum(axis: 0))]
  }

  /// What the slopes add to the bias's gradient.
  private func biasSlopes(_ tile: Tile) -> [Output] {
    let g = Expression.input("slopes", [tile.n, tile.c])
    return [Output(.input("by bias", [tile.c]) + g.sum(axis: 0).reshaped([tile.c]), inPlaceOf: "by bias")]
  }

  /// Adds what the slopes of tiles give to the gradients.
  private final class Gradients {
    private let type: DType
    private let workers: Workers
    private let biasSlopes: TilePlans<Tile>
    private var products: [Tile: (byFeatures: AccumulatedProduct, byClassifier: AccumulatedProduct)] = [:]

    init(_ cut: CutCrossEntropy, _ type: DType, _ workers: Workers) {
      (self.type, self.workers) = (type, workers)
      biasSlopes = TilePlans(type, workers) { cut.biasSlopes($0) }
    }

    /// `sums` are the gradients of features, classifier and perhaps bias, where the tile is; the first ones of tokens
    /// and of classes are not added to what was there.
    func add(
      _ g: Tensor, _ tile: Tile, _ arrays: [String: Tensor], to sums: [Tensor],
      isFirst: (ofTokens: Bool, ofClasses: Bool)
    ) throws(TemperError) {
      guard let features = arrays["features"], let classifier = arrays["classifier"] else { return }
      let (n, c, d) = (tile.n, tile.c, tile.d)
      if products[tile] == nil {
        products[tile] = (
          try AccumulatedProduct(m: n, n: d, k: c, type, workers),
          try AccumulatedProduct(m: c, n: d, k: n, transposeA: true, type, workers)
        )
      }
      products[tile]?.byFeatures.run(g, classifier, into: sums[0], adding: !isFirst.ofTokens)
      products[tile]?.byClassifier.run(g, features, into: sums[1], adding: !isFirst.ofClasses)
      if sums.count > 2 { try biasSlopes.run(tile, ["slopes": g, "by bias": sums[2]]) }
    }
  }

  /// Where sums go: what is asked for, or what can be forgotten. Zeros, if tiles may be left out.
  private func emptySums(_ x: [Tensor], _ outputs: ArraySlice<Tensor?>, _ type: DType) throws(TemperError) -> [Tensor] {
    var sums: [Tensor] = []
    for (index, shape) in ([x[0].shape, x[1].shape] + (hasBias ? [x[3].shape] : [])).enumerated() {
      let place = outputs.startIndex + index
      let sum = try (place < outputs.endIndex ? outputs[place] : nil).orZeros(shape, type)
      if index == 2 || filter > 0 || x[0].shape.count == 0 { try sum.fill(0) }
      sums.append(sum)
    }
    return sums
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
    let slopes = TilePlans<Tile>(type, workers) { self.slopes($0) }
    let gradients = Gradients(self, type, workers)
    return { (x, outputs) throws(TemperError) in
      let sums = try emptySums(x, outputs[...], type)
      let memory = try Tensor(zeros: [min(rows, x[0].shape[0]) * min(columns, x[1].shape[0])], type)
      let peak = try Tensor(zeros: [1, 1], type)
      try forEachTile(x) { (tile, tokens, classes, arrays) throws(TemperError) in
        var arrays = arrays
        arrays["total"] = try x[x.count - 2].slice(tokens)
        arrays["dy"] = try x[x.count - 1].slice(tokens)
        let g = try memory.slice(0..<(tile.n * tile.c)).reshaped([tile.n, tile.c])
        try slopes.run(tile, arrays, filter > 0 ? [0: g, 1: peak] : [0: g])
        if filter > 0, peak.scalar < filter { return }
        var parts = [try sums[0].slice(tokens), try sums[1].slice(classes)]
        if hasBias { parts.append(try sums[2].slice(classes)) }
        let isWhole = filter == 0
        try gradients.add(
          g, tile, arrays, to: parts,
          isFirst: (ofTokens: isWhole && classes.lowerBound == 0, ofClasses: isWhole && tokens.lowerBound == 0))
      }
    }
  }

  // Blocks of whole rows: the logits of some tokens are held, their slopes come in their place.

  /// Value, log-sum-exp and slopes from the products of features and classifier.
  private func rowSlopes(_ tile: Tile) -> [Output] {
    let product = Expression.input("slopes", [tile.n, tile.c])
    let z = bent(hasBias ? product + .input("bias", [tile.c]) : product)
    let index = Expression.input("targets", [tile.n, 1], .index)
    let (total, p) = z.logSumExpOfAny()
    return [
      Output(total - z.pick(index)), Output(total),
      Output(slope(p, z, index, .input("dy", [tile.n, 1])), inPlaceOf: "slopes"),
    ]
  }

  private func jointBody(_ type: DType, _ workers: Workers) -> CustomOperation.Body {
    let logits = TilePlans<Tile>(type, workers) { tile in
      [
        Output(
          .matmul(.input("features", [tile.n, tile.d]), .input("classifier", [tile.c, tile.d]), transposeB: true))
      ]
    }
    let slopes = TilePlans<Tile>(type, workers) { rowSlopes($0) }
    let gradients = Gradients(self, type, workers)
    return { (x, outputs) throws(TemperError) in
      let (tokens, classes, width) = (x[0].shape[0], x[1].shape[0], x[0].shape[1])
      let sums = try emptySums(x, outputs.dropFirst(2), type)
      let results = [try outputs[0].orZeros([tokens, 1], type), try outputs[1].orZeros([tokens, 1], type)]
      let most = max(CutCrossEntropy.heldElements * 4 / type.byteCount / max(classes, 1), 1)
      let blocks = max((tokens + most - 1) / most, 1), rows = (tokens + blocks - 1) / blocks
      let memory = try Tensor(zeros: [rows * classes], type)
      var arrays = ["classifier": x[1]]
      if hasBias { arrays["bias"] = x[3] }
      for first in stride(from: 0, to: tokens, by: max(rows, 1)) {
        let part = first..<min(first + rows, tokens)
        let tile = Tile(n: part.count, c: classes, d: width)
        let g = try memory.slice(0..<(tile.n * classes)).reshaped([tile.n, classes])
        arrays["slopes"] = g
        for (name, tensor) in [("features", x[0]), ("targets", x[2]), ("dy", x[x.count - 1])] {
          arrays[name] = try tensor.slice(part)
        }
        try logits.run(tile, arrays, [0: g])
        try slopes.run(tile, arrays, [0: try results[0].slice(part), 1: try results[1].slice(part)])
        try gradients.add(
          g, tile, arrays, to: [try sums[0].slice(part)] + sums.dropFirst(), isFirst: (true, first == 0))
      }
    }
  }
}
