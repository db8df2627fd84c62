import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// For each head: normaliser(Q K^T / sqrt(d)) V, the heads side by side, times W_o^T. Q, K and V are the thirds of
  /// x W^T + b (PyTorch's layout and names). Positions that may not be seen have score -inf and weight 0.
  static let multiHeadAttention = Method.layer(
    "multi_head_attention", summary: "Self-attention over sequences (steps, width).",
    reference: Reference("Vaswani et al.", 2017, "Attention Is All You Need", arXiv: "1706.03762"),
    options: [
      .size("heads", "Heads, which share the width equally.").named(also: "num_heads"),
      .boolean("causal", false, "A step sees itself and those before it."),
      .boolean(
        "key_mask", false,
        "Leave out the steps that the padding index of an embedding, or the mask given with the input, marks."),
      LayerOption(
        .text("normaliser", "softmax", "Operator of one array that makes weights of scores, or {name: options}."),
        .named),
      .real("dropout", 0, in: .belowOne, "Probability that a weight is dropped in training."),
      .choice(
        "positions", ["none", "rotary", "alibi"],
        "How scores see positions: not, by turning queries and keys, or by a slope of the distance for each head."),
      .choice(
        "memory", ["whole", "blocks"],
        "Weights of all pairs of steps are kept, or computed block by block and again for gradients; the latter for softmax without dropout."
      ),
      .real("rotary_base", 10_000, in: .positive, "Of the angles of rotary positions."),
      .boolean("bias", true, "Add trained biases."), .initializer("initializer", "glorot_uniform", "Of W."),
      .initializer("output_initializer", "fan_in_uniform", "Of W_o."),
    ],
    main: "heads"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(2...2, "sequences (steps, width)")
    let (steps, width, heads) = (layer.input[0], layer.input[1], layer.integer("heads"))
    guard width % heads == 0 else {
      throw TemperError(.invalidShape, "The width \(width) cannot be shared by \(heads) heads.")
    }
    let size = width / heads
    try layer.requireSize([heads, steps, steps])
    try layer.requireSize([3, steps, width])
    let (causal, keyMask, dropout) = (layer.boolean("causal"), layer.boolean("key_mask"), layer.real("dropout"))
    let (positions, base) = (layer.text("positions"), layer.real("rotary_base"))
    guard positions != "rotary" || size % 2 == 0 else {
      throw TemperError(.invalidShape, "Rotary positions turn pairs of features; a head has \(size).")
    }
    let normalise = try normaliser(layer)
    let isInBlocks = layer.text("memory") == "blocks"
    let isSoftmax = try layer.options.named("normaliser") == ("softmax", .null)
    guard !isInBlocks || isSoftmax && dropout == 0 && positions != "alibi" else {
      throw TemperError(
        .unsupported, "Attention in blocks is by softmax, without dropout and without slopes of the distance.")
    }
    let weightIn = try layer.parameter(
      "in_proj_weight", [3 * width, width], layer.initializer(), fanIn: width, fanOut: 3 * width, use: .product)
    let biased = layer.boolean("bias")
    let biasIn = biased ? try layer.parameter("in_proj_bias", [3 * width], .zeros) : nil
    let weightOut = try layer.parameter(
      "out_proj.weight", [width, width], layer.initializer("output_initializer"), fanIn: width, fanOut: width,
      use: .product)
    let biasOut = biased ? try layer.parameter("out_proj.bias", [width], .zeros) : nil
    if keyMask { layer.needsMask() }
    let path = layer.path
    return { x, pass in
      let batch = x.shape[0]
      let projected = pass.product(x, weightIn)
      // (N, T, 3, heads, d) -> (3, N, heads, T, d)
      let thirds = (biasIn.map { projected + pass[$0] } ?? projected)
        .reshaped([batch, steps, 3, heads, size]).permuted([2, 0, 3, 1, 4])
      func third(_ index: Int) -> Expression {
        thirds.slice(index..<(index + 1)).reshaped([batch, heads, steps, size])
      }
      func placed(_ x: Expression) -> Expression {
        positions == "rotary" ? x.rotated(base: base, isInterleaved: true) : x
      }
      func output(_ seen: Expression) -> Expression {
        let y = pass.product(seen.permuted([0, 2, 1, 3]).reshaped([batch, steps, width]), weightOut)
        return biasOut.map { y + pass[$0] } ?? y
      }
      if keyMask, pass.mask?.shape != [batch, steps] {
        return .invalid(
          .invalidShape,
          "Attention needs a mask of shape \(Shape([batch, steps])); \(pass.mask.map { "\($0.shape)" } ?? "none") came."
        )
      }
      let keys = keyMask ? pass.mask.map { $0 .!= 0 } : nil
      let scale = 1 / Double(size).squareRoot()
      if isInBlocks {
        return output(
          .blockAttention(
            placed(third(0)), placed(third(1)), third(2), scale: scale, isCausal: causal,
            mask: keys?.reshaped([batch, 1, steps]).broadcast(to: [batch, heads, steps])))
      }
      let query = placed(third(0)) * scale
      var scores = Expression.matmul(query, placed(third(1)), transposeB: true)
      if positions == "alibi" { scores = scores + .linearBiases(heads: heads, steps: steps) }
      var visible: Expression?
      if causal { visible = .iota([steps, steps]) .<= .iota([steps, steps], axis: 0) }
      if let keys = keys?.reshaped([batch, 1, 1, steps]) { visible = visible.map { $0 .& keys } ?? keys }
      var weights: Expression
      if let visible {
        // The second selection makes rows that see nothing zero, whatever the normaliser gives there.
        weights = .select(visible, normalise(.select(visible, scores, .constant(-.infinity))), .constant(0))
      } else {
        weights = normalise(scores)
      }
      pass.outputs[path + ".attention"] = weights
      weights = weights.dropout(dropout, pass)
      return output(.matmul(weights, third(2)))
    }
  }

  private static func normaliser(
    _ layer: LayerBuilder
  ) throws(TemperError) -> @Sendable (Expression) -> Expression {
    let (name, setting) = try layer.options.named("normaliser")
    if name == "softmax" && setting == .null { return { $0.softmax() } }
    do throws(TemperError) {
      let method = try layer.assembly.catalogue.find(name, kinds: [.op])
      let apply = try method.unaryOperation()
      let options = try LayerOptions(
        setting, declared: method.parameters.map { LayerOption($0) }, main: method.parameters.first?.name)
      return { apply($0, options.arguments) }
    } catch {
      throw error.from("\(layer.origin), normaliser \(name)")
    }
  }
}
