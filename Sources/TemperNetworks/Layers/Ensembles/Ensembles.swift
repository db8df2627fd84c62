import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// o = the mean over chosen layers l of a network P of A_l([h_l; s]), h_l its output pooled to a vector, s the output of
  /// a small network S, A_l a network of one hidden layer. P is frozen unless told otherwise; the loss is the mean of the
  /// losses of the o_l, or that of their mean.
  static let leviLayerwiseEnsemble = Method.layer(
    "levi_layerwise_ensemble", area: "regularize",
    summary:
      "Combines layers of a pretrained network with a small network trained from scratch, one head for each layer.",
    reference: Reference(
      title: "LEVI: Generalizable Fine-tuning via Layer-wise Ensemble of Different Views", arXiv: "2402.04644"),
    options: [
      LayerOption(.text("backbone", "", "The layers of the pretrained network.").required, .layers),
      LayerOption(.text("task", "", "The layers of the small network; without them it is left out."), .layers),
      .size("size", "Outputs of each head."),
      LayerOption(.text("layers", "", "Numbers of the backbone's layers that get a head; all by default."), .sizes),
      .integer("adapter_hidden", 64, in: 1...65_536, "Width of a head's hidden layer."),
      .choice("combine", ["mean", "learned"], "Heads alike, or by a softmax of trained numbers that starts even."),
      .choice(
        "loss", ["per_layer", "of_mean"], "The mean of the heads' losses, or the loss of what they give together."),
      .boolean("freeze_backbone", true, "Keep the pretrained network as it is."),
    ]
  ) { (layer) throws(TemperError) in
    let described = try layer.options.layers("backbone") ?? []
    let isFrozen = layer.boolean("freeze_backbone")
    let base = try Backbone(layer, described, named: "backbone", isFrozen: isFrozen)
    let given = try layer.options.sizes("layers")
    let chosen = given.isEmpty ? Array(described.indices) : given
    let task = try layer.options.layers("task").map { (layers) throws(TemperError) in
      try layer.sequence(layers, named: "task")
    }
    let taskWidth = task.map { $0.output.shape.pooledWidth } ?? 0
    let (size, inner) = (layer.integer("size"), layer.integer("adapter_hidden"))
    try layer.requireSize([size, inner])
    var heads: [(index: Int, first: LinearMap, second: LinearMap)] = []
    for (number, index) in chosen.enumerated() {
      let width = try base.width(index)
      heads.append(
        (
          index, try LinearMap(layer, "head\(number).0", width + taskWidth, inner),
          try LinearMap(layer, "head\(number).1", inner, size)
        ))
    }
    guard !heads.isEmpty else { throw TemperError(.invalidArgument, "The backbone has no layer to put a head on.") }
    let weights = layer.text("combine") == "learned" ? try layer.parameter("weights", [heads.count], .zeros) : nil
    let (isByLayer, all) = (layer.text("loss") == "per_layer", heads)
    return { x, pass in
      let views = base.views(x, pass)
      let aside = task.map { $0.forward(x, pass).pooled }
      let outputs = all.map { head in
        let seen = aside.map { Expression.concatenate([views(head.index), $0], axis: 1) } ?? views(head.index)
        return head.second(relu(head.first(seen, pass)), pass)
      }
      if isByLayer && pass.mode == .training { pass.heads = outputs }
      let even = 1 / Double(all.count)
      let shares = weights.map { pass[$0].softmax() }
      let parts = outputs.enumerated().map { index, output in
        shares.map { output * $0.slice(index..<(index + 1)) } ?? output * even
      }
      return parts.dropFirst().reduce(parts[0]) { $0 + $1 }
    }
  }

  /// "wa": a linear classifier on sum_l softmax(w)_l mean_t(h_l). "tl_tr": each h_l pooled over time by `pool`, a
  /// transformer layer along time (shared), the mean, a transformer layer along the layers, the mean, a linear classifier.
  /// h_l are the outputs of a frozen network's layers.
  static let layerwiseProbe = Method.layer(
    "layerwise_probe", area: "sequence",
    summary: "Classifies from all layers of a frozen network at once.",
    reference: Reference(
      "Gong, Khurana, Karlinsky, Glass", 2023,
      "Whisper-AT: Noise-Robust Automatic Speech Recognizers are Also Strong General Audio Event Taggers",
      arXiv: "2307.03183"),
    options: [
      LayerOption(.text("backbone", "", "The layers of the frozen network, of one width.").required, .layers),
      .size("size", "Outputs."),
      LayerOption(.text("layers", "", "Numbers of the layers that are read; all by default."), .sizes),
      .choice("head", ["wa", "tl_tr"], "A weighted mean, or transformers along time and layers."),
      .integer("pool", 20, in: 1...65_536, "Steps that become one, for tl_tr."),
      .integer("proj_dim", 0, in: 0...65_536, "Width of tl_tr's transformers; 0: that of the layers."),
      .integer("heads", 8, in: 1...1024, "Of tl_tr's attention."),
    ]
  ) { (layer) throws(TemperError) in
    let described = try layer.options.layers("backbone") ?? []
    let base = try Backbone(layer, described, named: "backbone", isFrozen: true)
    let given = try layer.options.sizes("layers")
    let chosen = given.isEmpty ? Array(described.indices) : given
    guard let first = chosen.first else { throw TemperError(.invalidArgument, "The network has no layer to read.") }
    let width = try base.width(first)
    for index in chosen where try base.width(index) != width {
      throw TemperError(
        .invalidShape,
        "The layers that are read have one width; layers \(first) and \(index) have \(width) and \(try base.width(index))."
      )
    }
    let size = layer.integer("size")
    try layer.requireSize([size, max(width, layer.integer("proj_dim"))])
    if layer.text("head") == "wa" {
      let weights = try layer.parameter("weights", [chosen.count], .zeros)
      let classifier = try LinearMap(layer, "classifier", width, size)
      return { x, pass in
        let (views, shares) = (base.views(x, pass), pass[weights].softmax())
        let parts = chosen.enumerated().map { views($1) * shares.slice($0..<($0 + 1)) }
        return classifier(parts.dropFirst().reduce(parts[0]) { $0 + $1 }, pass)
      }
    }
    let steps = try base.steps(chosen)
    let (window, inner) = (min(layer.integer("pool"), steps), layer.integer("proj_dim"))
    let project = inner == 0 ? nil : try LinearMap(layer, "project", width, inner)
    let model = inner == 0 ? width : inner
    let short = steps / window
    let block: JSON = try JSON(
      parsing: """
        [{"residual": ["layer_norm", {"multi_head_attention": \(layer.integer("heads"))}]},
         {"residual": ["layer_norm", {"geglu": \(4 * model)}, {"dense": \(model)}]}]
        """)
    let time = try layer.layer(block, named: "time", input: Signature([short, model]))
    let depth = try layer.layer(block, named: "depth", input: Signature([chosen.count, model]))
    let classifier = try LinearMap(layer, "classifier", model, size)
    return { x, pass in
      let batch = x.shape[0]
      let sequences = base.sequences(x, pass)
      let means = chosen.map { index in
        let h = sequences(index).slice(0..<(short * window), axis: 1)
          .reshaped([batch, short, window, width]).mean(axis: 2).squeezed(2)
        return time.forward(project.map { $0(h, pass) } ?? h, pass).mean(axis: 1)
      }
      return classifier(depth.forward(.concatenate(means, axis: 1), pass).mean(axis: 1).squeezed(1), pass)
    }
  }

  /// log((1 - a) softmax(std_scale g) + a softmax(rob_scale h)) for an accurate network g and a robust one h, both frozen:
  /// logits whose softmax is the mixture. a is fixed, or a small network's: sigmoid(s gamma + b) of its normalized output
  /// gamma, at inference brought to alpha_min + alpha_span a.
  static let adaptiveSmoothingMix = Method.layer(
    "adaptive_smoothing_mix", area: "adversarial",
    summary: "Mixes the probabilities of an accurate and a robust network, by a fixed share or by a trained one.",
    reference: Reference(
      "Bai, Anderson, Kim, Sojoudi", 2024,
      "Improving the Accuracy-Robustness Trade-Off of Classifiers via Adaptive Smoothing", arXiv: "2301.12554"),
    options: [
      LayerOption(.text("accurate", "", "The layers of the accurate network.").required, .layers),
      LayerOption(.text("robust", "", "The layers of the robust network.").required, .layers),
      .choice("alpha", ["fixed", "adaptive"], "One share, or one for each sample."),
      .real("alpha_fixed", 0.75, in: .unit, "Share of the robust network."),
      .real("std_scale", 2, in: .positive, "Scale of the accurate network's logits.").named(also: "c_g"),
      .real("rob_scale", 1, in: .positive, "Scale of the robust network's logits.").named(also: "c_h"),
      .integer("hidden", 64, in: 1...65_536, "Width of the small network, which sees the layers before the last."),
      .real("alpha_min", 0.84, in: .unit, "Least share at inference."),
      .real("alpha_span", 0.15, in: .unit, "From the least share to the largest."),
      .real(
        "gamma_clip_std", 0.6, in: .positive, "Deviations from the batch's mean at which gamma is clipped in training."),
      .real("gamma_scale", 2, "s."), .real("gamma_shift_train", 0.4, "b in training."),
      .real("gamma_shift_eval", 1.3, "b at inference."),
    ]
  ) { (layer) throws(TemperError) in
    let described = (try layer.options.layers("accurate") ?? [], try layer.options.layers("robust") ?? [])
    let accurate = try Backbone(layer, described.0, named: "accurate", isFrozen: true)
    let robust = try Backbone(layer, described.1, named: "robust", isFrozen: true)
    guard accurate.output == robust.output, accurate.output.rank == 1 else {
      throw TemperError(
        .invalidShape,
        "Both networks give scores of the same classes; shapes \(accurate.output) and \(robust.output) came.")
    }
    let (stdScale, robScale) = (layer.real("std_scale"), layer.real("rob_scale"))
    @Sendable func mixed(_ g: Expression, _ h: Expression, _ logShare: Expression, _ logRest: Expression) -> Expression
    {
      let (a, b) = ((robScale * h).logSoftmax() + logShare, (stdScale * g).logSoftmax() + logRest)
      let larger = maximum(a, b).stopGradient
      return larger + log(exp(a - larger) + exp(b - larger))
    }
    if layer.text("alpha") == "fixed" {
      let alpha = layer.real("alpha_fixed")
      return { x, pass in
        let (g, h) = (accurate.scores(x, pass), robust.scores(x, pass))
        if alpha == 0 { return (stdScale * g).logSoftmax() }
        if alpha == 1 { return (robScale * h).logSoftmax() }
        return mixed(g, h, log(Expression.constant(alpha)), log1p(Expression.constant(-alpha)))
      }
    }
    let seen = [(accurate, max(described.0.count - 2, 0)), (robust, max(described.1.count - 2, 0))]
    var width = 0
    for (network, index) in seen { width += try network.width(index) }
    let mixer = (
      try LinearMap(layer, "mixer.0", width, layer.integer("hidden")),
      try LinearMap(layer, "mixer.1", layer.integer("hidden"), 1)
    )
    let runningMean = try layer.buffer("running_mean", [1], initial: 0)
    let runningVariance = try layer.buffer("running_var", [1], initial: 1)
    let (least, span, reach) = (layer.real("alpha_min"), layer.real("alpha_span"), layer.real("gamma_clip_std"))
    let (scale, train, eval) = (
      layer.real("gamma_scale"), layer.real("gamma_shift_train"), layer.real("gamma_shift_eval")
    )
    return { x, pass in
      let (g, h) = (accurate.scores(x, pass), robust.scores(x, pass))
      let features = Expression.concatenate(seen.map { network, index in network.views(x, pass)(index) }, axis: 1)
      var gamma = mixer.1(relu(mixer.0(features, pass)), pass)
      let count = Double(x.shape[0])
      if pass.mode == .training {
        func moments(_ x: Expression) -> (mean: Expression, variance: Expression) {
          let mean = x.mean(axis: 0)
          return (mean, square(x - mean).mean(axis: 0))
        }
        let wide = moments(gamma)
        let bound = reach * sqrt(wide.variance + 1e-5)
        gamma = minimum(maximum(gamma, wide.mean - bound), wide.mean + bound)
        let (mean, variance) = moments(gamma)
        func move(_ name: String, _ value: Expression) {
          pass.update(name, to: 0.99 * pass[name] + 0.01 * value.reshaped([1]))
        }
        move(runningMean, mean)
        move(runningVariance, variance * (count > 1 ? count / (count - 1) : 1))
        gamma = (gamma - mean) / sqrt(variance + 1e-5)
      } else {
        gamma = (gamma - pass[runningMean]) / sqrt(pass[runningVariance] + 1e-5)
      }
      let score = scale * gamma + (pass.mode == .training ? train : eval)
      guard pass.mode != .training else { return mixed(g, h, -softplus(-score), -softplus(score)) }
      let share = least + span * sigmoid(score)
      return mixed(g, h, log(share), log(1 - share))
    }
  }
}

/// A network inside a layer whose layers' outputs are read.
private struct Backbone: Sendable {
  private let network: BuiltLayer
  private let path: String
  private let outputs: [Signature]
  private let isFrozen: Bool

  var output: Shape { network.output.shape }

  init(_ layer: LayerBuilder, _ layers: [JSON], named name: String, isFrozen: Bool) throws(TemperError) {
    (path, self.isFrozen) = ("\(layer.path).\(name)", isFrozen)
    var parts: [BuiltLayer] = []
    func build() throws(TemperError) {
      for (index, json) in layers.enumerated() {
        parts.append(try layer.layer(json, named: "\(name).\(index)", input: parts.last?.output))
      }
    }
    if isFrozen { try layer.freezing { () throws(TemperError) in try build() } } else { try build() }
    guard let last = parts.last else { throw TemperError(.invalidArgument, "The network \(name) has no layers.") }
    outputs = parts.map(\.output)
    let (chain, place) = (parts, path)
    network = BuiltLayer(
      forward: { x, pass in
        var y = x
        for (index, part) in chain.enumerated() {
          y = part.forward(y, pass)
          pass.outputs["\(place).\(index)"] = y
        }
        return y
      }, output: last.output)
  }

  private func shape(_ index: Int) throws(TemperError) -> Shape {
    guard outputs.indices.contains(index), outputs[index].kind == .real else {
      throw TemperError(.outOfRange, "The network has layers 0 to \(outputs.count - 1); \(index) came.")
    }
    return outputs[index].shape
  }

  /// The width of a layer's output pooled to a vector.
  func width(_ index: Int) throws(TemperError) -> Int { try shape(index).pooledWidth }

  /// The steps that the sequences of these layers have in common.
  func steps(_ indices: [Int]) throws(TemperError) -> Int {
    var least = Int.max
    for index in indices {
      let shape = try shape(index)
      guard shape.rank == 2 else {
        throw TemperError(.invalidShape, "Layer \(index) gives no sequence (steps, width) but \(shape).")
      }
      least = min(least, shape[0])
    }
    return least
  }

  func scores(_ x: Expression, _ pass: Pass) -> Expression {
    isFrozen ? pass.inInference { network.forward(x, pass) } : network.forward(x, pass)
  }

  /// The outputs of layers for x, as they are.
  func sequences(_ x: Expression, _ pass: Pass) -> (Int) -> Expression {
    _ = scores(x, pass)
    let outputs = pass.outputs
    return { outputs["\(path).\($0)"] ?? .invalid(.internalFault, "Layer \($0) of \(path) gave nothing.") }
  }

  /// The outputs of layers for x, pooled to vectors.
  func views(_ x: Expression, _ pass: Pass) -> (Int) -> Expression {
    let read = sequences(x, pass)
    return { read($0).pooled }
  }
}

extension Shape {
  /// Channels of an image, width of a sequence or vector; of anything else all elements.
  var pooledWidth: Int { rank == 3 ? self[0] : rank == 1 || rank == 2 ? last : count }
}

extension Expression {
  /// Images (N, C, H, W) by the mean over positions, sequences (N, T, D) by the mean over steps.
  var pooled: Expression {
    switch shape.rank {
    case 4: mean(axes: [2, 3]).reshaped([shape[0], shape[1]])
    case 3: mean(axis: 1).squeezed(1)
    default: reshaped([shape[0], shape.count / Swift.max(shape[0], 1)])
    }
  }
}
