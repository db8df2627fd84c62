import TemperCatalogue
import TemperCore
import TemperGraph

/// Networks whose blocks learn alone: in training no gradient passes from a block to the one before.
extension Layers {
  private static let source = Reference(
    title:
      "Beyond Backpropagation: Exploring Innovative Algorithms for Energy-Efficient Deep Neural Network Training",
    arXiv: "2509.19063")

  /// For each label c: h_0 = x with c written into its first elements as one-hot, h_i = block_i(h_{i-1} / |h_{i-1}|), and
  /// goodness g_i the mean of squares of h_i, or their sum. y_c = the sum of g_i(c) over the blocks but the first. In
  /// training each g_i is a head of its own: with `forward_forward_loss` each block learns a high goodness of the true
  /// label and a low one of others. Training and inference pass every sample once for each label.
  static let forwardForward = Method.layer(
    "forward_forward", area: "optim",
    summary: "Scores labels by how strongly blocks respond to the input with the label written into it.",
    reference: source,
    options: [
      LayerOption(.text("blocks", "", "The blocks, each a layer or a list of layers.").required, .layers),
      .size("size", "Labels; as many of the input's first elements are overwritten."),
      .choice(
        "goodness", ["mean", "sum"], "Of the squares of what a block gives; a wide block's mean is slow to rise to 2."),
    ]
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...1, "vectors, whose first elements take the label")
    let (classes, width) = (layer.integer("size"), layer.input[0])
    guard classes <= width else {
      throw TemperError(.invalidShape, "The input has \(width) elements; \(classes) labels have no room in it.")
    }
    let blocks = try layer.blocks()
    let isMean = layer.text("goodness") == "mean"
    return { x, pass in
      let batch = x.shape[0]
      let rest = x.slice(classes..<width, axis: 1)
      let written = (0..<classes).map { label -> Expression in
        let code = Expression.iota([1, classes]) .== Double(label)
        return Expression.concatenate([code.broadcast(to: [batch, classes]), rest], axis: 1)
      }
      var h = Expression.concatenate(written, axis: 0)
      let goodness = blocks.map { block in
        let size = sqrt(square(h).sum(axes: Array(1..<h.shape.rank)) + 1e-24)
        h = block.forward(pass.detached(h / (size + 1e-8)), pass)
        let squares = square(h.reshaped([classes * batch, h.shape.count / (classes * batch)]))
        return (isMean ? squares.mean() : squares.sum()).reshaped([classes, batch]).permuted([1, 0])
      }
      if pass.mode == .training { pass.heads = goodness }
      let counted = goodness.count > 1 ? Array(goodness.dropFirst()) : goodness
      return counted.dropFirst().reduce(counted[0]) { $0 + $1 }
    }
  }

  /// h_i = block_i(h_{i-1}); y = the sum of W_i h_i + b_i. In training each W_i h_i + b_i is a head of its own. Frozen
  /// blocks are random features, for predictors that learn alone or that `mono_forward` fits by ridge regression.
  static let cascadedForward = Method.layer(
    "cascaded_forward", area: "optim",
    summary: "Blocks with a linear predictor each, which learn without each other and are added.",
    reference: source,
    options: [
      LayerOption(.text("blocks", "", "The blocks, each a layer or a list of layers.").required, .layers),
      .size("size", "Outputs of each predictor."),
      .boolean("frozen", true, "Keep the blocks as they began."),
    ]
  ) { (layer) throws(TemperError) in
    let (size, isFrozen) = (layer.integer("size"), layer.boolean("frozen"))
    let blocks =
      isFrozen
      ? try layer.freezing { () throws(TemperError) in try layer.blocks() } : try layer.blocks()
    var predictors: [LinearMap] = []
    for (index, block) in blocks.enumerated() {
      let width = block.output.shape.pooledWidth
      try layer.requireSize([size, width])
      predictors.append(try LinearMap(layer, "predictor\(index)", width, size))
    }
    let (path, all) = (layer.path, predictors)
    return { x, pass in
      var h = x
      var outputs: [Expression] = []
      for (index, block) in blocks.enumerated() {
        let seen = pass.detached(h)
        h = isFrozen ? pass.inInference { block.forward(seen, pass) } : block.forward(seen, pass)
        let features = isFrozen ? pass.detached(h.pooled) : h.pooled
        pass.outputs["\(path).block\(index)"] = features
        outputs.append(all[index](features, pass))
      }
      if pass.mode == .training { pass.heads = outputs }
      return outputs.dropFirst().reduce(outputs[0]) { $0 + $1 }
    }
  }
}

extension LayerBuilder {
  /// The option "blocks" as layers one after the other, each of which gives numbers.
  fileprivate func blocks() throws(TemperError) -> [BuiltLayer] {
    var built: [BuiltLayer] = []
    for (index, block) in try (options.layers("blocks") ?? []).enumerated() {
      let next = try layer(block, named: "block\(index)", input: built.last?.output)
      guard next.output.kind == .real else { throw TemperError(.invalidType, "Every block must give numbers.") }
      built.append(next)
    }
    guard !built.isEmpty else { throw TemperError(.invalidArgument, "It needs at least one block.") }
    return built
  }
}

extension Pass {
  /// In training, what is to pass no gradient back.
  fileprivate func detached(_ x: Expression) -> Expression { mode == .training ? x.stopGradient : x }
}
