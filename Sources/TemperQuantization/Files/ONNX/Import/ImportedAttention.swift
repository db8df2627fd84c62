import TemperCore

/// Scores of attention: queries times keys, scaled and masked, and perhaps made to weights.
struct ImportedScores {
  let queries: ImportedFlow
  /// The last two axes as the product reads them: (features, steps).
  let keys: ImportedFlow
  var factor = 1.0
  var mask: Tensor?
  var areWeights = false

  var shape: Shape { Shape(queries.shape.sizes.dropLast() + [keys.shape.last]) }

  /// What is below this counts as minus infinity.
  private static let minusInfinity = -1e4

  /// Whether a step sees only itself and those before it; an error for other masks.
  private func isCausal(_ title: String) throws(TemperError) -> Bool {
    guard let mask else { return false }
    let steps = shape.last
    guard Shape.broadcast(mask.shape, shape) == shape else {
      throw ONNXImport.unsupported(title, "A mask of shape \(mask.shape) is added to scores of shape \(shape).")
    }
    let hidden = try mask.broadcast(to: shape).array()
    let places = hidden.indices.map { (row: $0 / steps % steps, column: $0 % steps) }
    guard hidden.allSatisfy({ $0 == 0 || $0 <= ImportedScores.minusInfinity }) else {
      throw ONNXImport.unsupported(title, "Numbers that are no mask are added to the scores of attention.")
    }
    if hidden.allSatisfy({ $0 == 0 }) { return false }
    guard zip(hidden, places).allSatisfy({ ($0 != 0) == ($1.column > $1.row) }) else {
      throw ONNXImport.unsupported(title, "Attention sees all steps, or those up to its own; this mask is another.")
    }
    return true
  }

  /// A third of the projection: the dense layer whose rows are read, and for each leading index the sample and the rows.
  private struct Part {
    var dense: ImportedLayer
    var factor = 1.0
    var samples: [Int] = []
    var features: [[Int]] = []

    init?(_ flow: ImportedFlow, isTurned: Bool) throws(TemperError) {
      dense = flow.layer
      while case .pending = dense.form, let (a, b) = dense.affine, abs(b) < 1e-12, let parent = dense.parent {
        factor *= a
        dense = parent
      }
      guard dense.name == "dense", dense.shape.count == 2, flow.shape.rank >= 3 else { return nil }
      var map = try flow.places()
      let rank = flow.shape.rank
      if isTurned { map = try map.permuted(Array(0..<(rank - 2)) + [rank - 1, rank - 2]) }
      let (steps, width, size) = (dense.shape[0], dense.shape[1], map.shape.last)
      guard map.shape[rank - 2] == steps, size > 0, steps > 0 else { return nil }
      let places = try map.dense().array(of: Int32.self).map { Int($0) }
      for start in stride(from: 0, to: places.count, by: steps * size) {
        let (sample, rows) = (places[start] / (steps * width), places[start..<(start + size)].map { $0 % width })
        for offset in 0..<(steps * size) {
          let expected = (sample * steps + offset / size) * width + rows[offset % size]
          guard places[start + offset] == expected else { return nil }
        }
        samples.append(sample)
        features.append(rows)
      }
    }

    /// Rows of the weight, or elements of the bias, head after head.
    func rows(_ name: String, of heads: [Int], times factor: Double) throws(TemperError) -> [Double] {
      let rows = heads.flatMap { features[$0] }
      guard let tensor = dense.weights[name] else { return [Double](repeating: 0, count: rows.count) }
      let (values, width) = (try tensor.array(), tensor.shape.count / max(tensor.shape[0], 1))
      return rows.flatMap { row in values[(row * width)..<((row + 1) * width)].map { $0 * factor } }
    }
  }

  /// Weights times `values`, as a layer whose output is not projected yet.
  func applied(to values: ImportedFlow, batch: Int, title: String) throws(TemperError) -> ImportedFlow {
    guard let q = try Part(queries, isTurned: false), let k = try Part(keys, isTurned: true),
      let v = try Part(values, isTurned: false), let input = q.dense.parent,
      k.dense.parent === input, v.dense.parent === input, q.samples == k.samples, q.samples == v.samples
    else {
      throw ONNXImport.unsupported(
        title, "Queries, keys and values must be heads of dense layers over the same sequence.")
    }
    let (steps, width, size) = (input.shape[0], input.shape[1], q.features[0].count)
    // Heads of the first sample in their order; every sample has the same.
    let order = q.samples.indices.filter { q.samples[$0] == 0 }
    var found = [Int](repeating: 0, count: batch)
    var places: [(sample: Int, head: Int)] = []
    for (index, sample) in q.samples.enumerated() {
      guard sample < batch, found[sample] < order.count else { throw ONNXImport.unsupported(title) }
      let first = order[found[sample]]
      guard [q, k, v].allSatisfy({ $0.features[index] == $0.features[first] }) else {
        throw ONNXImport.unsupported(title)
      }
      places.append((sample, found[sample]))
      found[sample] += 1
    }
    guard order.count * size == width, k.features[0].count == size, v.features[0].count == size else {
      throw ONNXImport.unsupported(title, "The widths of the heads must sum to that of the sequence.")
    }
    // The layer divides scores by √size.
    let scale = factor * q.factor * k.factor * Double(size).squareRoot()
    var (weight, bias): ([Double], [Double]) = ([], [])
    for (part, factor) in [(q, scale), (k, 1), (v, v.factor)] {
      weight += try part.rows("weight", of: order, times: factor)
      bias += try part.rows("bias", of: order, times: factor)
    }
    let layer = ImportedLayer(
      .layer, "multi_head_attention", on: input, shape: [steps, width],
      options: [
        JSON.Member("heads", .integer(order.count)), JSON.Member("causal", .boolean(try isCausal(title))),
      ],
      weights: [
        "in_proj_weight": try Tensor(weight, shape: [3 * width, width]),
        "in_proj_bias": try Tensor(bias),
      ])
    var map: [Int32] = []
    for place in places {
      for t in 0..<steps {
        map += (0..<size).map { Int32((place.sample * steps + t) * width + place.head * size + $0) }
      }
    }
    let shape = Shape(queries.shape.sizes.dropLast() + [size])
    return try ImportedFlow(layer, shape, try Tensor(map, shape: shape))
  }
}
