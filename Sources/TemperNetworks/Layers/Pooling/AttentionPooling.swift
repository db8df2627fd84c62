import TemperCatalogue
import TemperCore
import TemperGraph

/// Layers that make one vector, or one score for each label, of a set or sequence. Elements that the mask leaves out
/// have weight 0.
extension Layers {
  /// y_d = sum_n s_nd x_nd, s the softmax over the elements n of x W + b, feature by feature.
  static let attsetsPooling = Method.layer(
    "attsets_pooling", area: "regularize",
    summary: "Pools a set (elements, width) to one vector by attention over the elements, feature by feature.",
    reference: Reference(
      "Yang, Wang, Markham, Trigoni", 2019,
      "Robust Attentional Aggregation of Deep Feature Sets for Multi-view 3D Reconstruction", arXiv: "1808.00758"),
    options: [
      .boolean("bias", false, "Add a trained bias to the scores."), .initializer("initializer", "fan_in_uniform"),
    ],
    main: "bias"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(2...2, "sets (elements, width)")
    let width = layer.input[1]
    let score = try LinearMap(layer, "score", width, width, hasBias: layer.boolean("bias"), layer.initializer())
    return { x, pass in
      let weights = score(x, pass).transposed.softmax(among: pass.mask.map { ($0 .!= 0).expanded(1) })
      return (weights * x.transposed).sum().squeezed()
    }
  }

  /// z_k = w_k . sum_l a_kl h_l + b_k, a_k the softmax over positions of q_k . tanh(W h_l).
  static let labelWiseAttention = Method.layer(
    "label_wise_attention_ldam", aliases: ["label_wise_attention"], area: "imbalance",
    summary: "A score for each label by attention of its own over a sequence; trains with the loss ldam_bce.",
    reference: Reference(
      "Biswas, Pham, Zhang", 2021,
      "TransICD: Transformer Based Code-wise Attention Model for Explainable ICD Coding", arXiv: "2104.10652"),
    options: [
      .size("labels", "Labels that come out.").named(also: "num_labels"),
      .integer("attn_expansion", 2, in: 1...1024, "Width of the attention over that of the sequence."),
    ], main: "labels"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(2...2, "sequences (steps, width)")
    let (steps, width, labels) = (layer.input[0], layer.input[1], layer.integer("labels"))
    let inner = width * layer.integer("attn_expansion")
    try layer.requireSize([labels, max(steps, width)])
    try layer.requireSize([steps, inner])
    let project = try LinearMap(layer, "project", width, inner, hasBias: false)
    let queries = try LinearMap(layer, "queries", inner, labels, hasBias: false)
    let weight = try layer.parameter("weight", [labels, width], .fanInUniform, fanIn: width)
    let bias = try layer.parameter("bias", [labels], .fanInUniform, fanIn: width)
    let path = layer.path
    return { x, pass in
      let scores = queries(tanh(project(x, pass)), pass).transposed
      let attention = scores.softmax(among: pass.mask.map { ($0 .!= 0).expanded(1) })
      pass.outputs[path + ".attention"] = attention
      return (Expression.matmul(attention, x) * pass[weight]).sum().squeezed() + pass[bias]
    }
  }

  /// z = sum_l a_l v_l, a the softmax over positions of max_k relu(conv(G))_kl, G_kl = cos(c_k, v_l) for trained label
  /// vectors c, conv over 2 r + 1 positions. Then W_2 dropout(relu(W_1 z)); training adds label_reg times the
  /// cross-entropy of the same classifier on c_k for label k.
  static let labelAttentionPooling = Method.layer(
    "label_attention_pooling", area: "sequence",
    summary: "Pools a sequence by the likeness of its steps to trained vectors of the labels, and classifies it.",
    reference: Reference(
      title: "Label Dependent Attention Model for Disease Risk Prediction Using Multimodal Electronic Health Records",
      arXiv: "2201.06779"),
    options: [
      .size("labels", "Labels."), .integer("window_r", 5, in: 0...65_536, "Positions on each side of the window."),
      .integer("hidden", 300, in: 0...(1 << 24), "Width of the classifier; 0: the pooled vector comes out."),
      .real("dropout", 0.5, in: .belowOne, "In the classifier."),
      .real("label_reg", 1, in: .nonNegative, "Weight of the loss on the labels' own vectors."),
    ], main: "labels"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(2...2, "sequences (steps, width)")
    let (steps, width, labels) = (layer.input[0], layer.input[1], layer.integer("labels"))
    let (reach, hidden) = (layer.integer("window_r"), layer.integer("hidden"))
    let (p, regularization) = (layer.real("dropout"), layer.real("label_reg"))
    try layer.requireSize([labels, max(steps + 2 * reach, width, hidden)])
    try layer.requireSize([labels, labels, 2 * reach + 1])
    let vectors = try layer.parameter("labels", [labels, width], .normal(mean: 0, std: 1))
    let convolution = Convolution(padding: [0, reach])
    let kernel = try layer.parameter(
      "window.weight", [labels, labels, 1, 2 * reach + 1], .fanInUniform, fanIn: labels * (2 * reach + 1),
      use: .convolution(convolution))
    let kernelBias = try layer.parameter("window.bias", [labels], .fanInUniform, fanIn: labels * (2 * reach + 1))
    let classifier =
      hidden == 0
      ? nil
      : (try LinearMap(layer, "hidden", width, hidden), try LinearMap(layer, "classifier", hidden, labels))
    let path = layer.path
    return { x, pass in
      let batch = x.shape[0]
      func unit(_ x: Expression) -> Expression { x / maximum(x.rowNorms(), 1e-12) }
      // (N, K, 1, L)
      let likeness = Expression.matmul(unit(x), unit(pass[vectors]), transposeB: true).transposed
        .reshaped([batch, labels, 1, steps])
      let seen = (pass.replaced(kernel, likeness) ?? likeness.convolved(with: pass[kernel], convolution))
        .reshaped([batch, labels, steps])
      let score = relu(seen + pass[kernelBias].reshaped([labels, 1])).transposed.maximum().squeezed()
      let attention = score.softmax(among: pass.mask.map { $0 .!= 0 })
      pass.outputs[path + ".attention"] = attention
      let pooled = Expression.matmul(attention.expanded(1), x).squeezed(1)
      guard let (first, second) = classifier else { return pooled }
      func classify(_ z: Expression) -> Expression { second(relu(first(z, pass)).dropout(p, pass), pass) }
      if regularization > 0, pass.mode == .training {
        let scores = classify(pass[vectors])
        let own = scores.pick(.iota([labels, 1], axis: 0))
        pass.penalize(regularization * (scores.logSumExp() - own).meanAll())
      }
      return classify(pooled)
    }
  }
}
