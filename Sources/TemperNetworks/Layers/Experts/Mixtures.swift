import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  private static let expertCount = LayerOption(
    .integer("experts", 1, in: 1...1024, "Experts to choose from.").required.named(also: "num_experts"))

  /// g = softmax of the K largest of u = W x + c, 0 elsewhere; sum over experts of g_i E_i(x), or g itself without
  /// layers. Each of the layers' copies is an expert; all run, so that shapes stay fixed, and those not chosen have weight
  /// and gradient 0. Noisy: u + z softplus(W_n x) in training, z normal. The balance loss is E sum_i f_i P_i, f the share
  /// of tokens whose first choice is i and P its mean probability: 1 where both are even.
  static let topkSoftmaxGate = Method.layer(
    "topk_softmax_gate", aliases: ["mixture_of_experts"], area: "regularize",
    summary:
      "A mixture of experts: the K whose gate is largest, weighed by its softmax, with a loss that balances them.",
    reference: Reference(
      "Nguyen, Akbarian, Yan, Ho", 2024, "Statistical Perspective of Top-K Sparse Softmax Gating Mixture of Experts",
      arXiv: "2309.13850"),
    options: [
      expertCount,
      .integer("K", 2, in: 1...1024, "Experts chosen for each token; all, if there are fewer.").named(also: "k"),
      LayerOption(.text("layers", "", "The layers of one expert; without them the weights come out."), .layers),
      .real("load_balance", 0.01, in: .nonNegative, "Weight of the balance loss in training."),
      .boolean("noisy", false, "Trained noise on the gate in training. Shazeer et al., 2017 (arXiv 1701.06538)."),
    ], main: "experts"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...2, "samples (width,) or sequences (steps, width)")
    let (experts, inputs, isNoisy) = (layer.integer("experts"), layer.input.last, layer.boolean("noisy"))
    let (chosen, balance) = (min(layer.integer("K"), experts), layer.real("load_balance"))
    try layer.requireSize(layer.input.sizes.dropLast() + [experts])
    let gate = try LinearMap(layer, "gate", inputs, experts)
    let noise = isNoisy ? try LinearMap(layer, "noise", inputs, experts, hasBias: false, .zeros) : nil
    var parts: [BuiltLayer] = []
    if let layers = try layer.options.layers("layers") {
      for index in 0..<experts { parts.append(try layer.sequence(layers, named: "expert\(index)")) }
      let output = parts[0].output
      guard output.kind == .real, output.shape.rank == layer.input.rank,
        output.shape.sizes.dropLast() == layer.input.sizes.dropLast()
      else {
        throw TemperError(
          .invalidShape, "An expert may change the last axis of \(layer.input) only; it gives \(output.shape).")
      }
    }
    let built = parts
    return { x, pass in
      var u = gate(x, pass)
      if let noise, pass.mode == .training { u = u + pass.normal(u.shape) * softplus(noise(x, pass)) }
      let weights = u.topSoftmax(chosen)
      if balance > 0 {
        let tokens = u.shape.count / experts
        let probability = u.softmax().reshaped([tokens, experts]).mean(axis: 0)
        let share = Expression.oneHot(u.argmax(), columns: experts).reshaped([tokens, experts]).mean(axis: 0)
        pass.penalize((share * probability).sumAll() * (balance * Double(experts)))
      }
      guard !built.isEmpty else { return weights }
      let results = built.enumerated().map { index, expert in
        expert.forward(x, pass) * weights.slice(index..<(index + 1), axis: -1)
      }
      return results.dropFirst().reduce(results[0]) { $0 + $1 }
    }
  }

  /// log sum_i softmax_i(B M(x) + c) softmax_s(A_i x + d_i): the logarithm of a mixture of k multinomial logistic
  /// regressions, so a softmax of it is itself. The gate sees a bounded M(x), without which experts whose slopes vanish are
  /// learned slower than at any polynomial rate.
  static let softmaxGatedLogisticMixture = Method.layer(
    "softmax_gated_logistic_moe", area: "regularize",
    summary: "Logits of a mixture of multinomial logistic regressions with a softmax gate.",
    reference: Reference(
      "Nguyen, Akbarian, Nguyen, Ho", 2024,
      "A General Theory for Softmax Gating Multinomial Logistic Mixture of Experts", arXiv: "2310.14188"),
    options: [
      .integer("classes", 1, in: 1...(1 << 24), "Classes that come out.").requiredOption(also: "size"),
      .integer("k", 3, in: 1...1024, "Experts.").named(also: "experts"),
      .choice("gate_transform", ["tanh", "sigmoid", "none"], "What the gate sees of x."),
    ], main: "classes"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...1, "samples (width,)")
    let (classes, experts, inputs) = (layer.integer("classes"), layer.integer("k"), layer.input[0])
    let transform = layer.text("gate_transform")
    try layer.requireSize([classes, experts])
    let gate = try LinearMap(layer, "gate", inputs, experts)
    let scores = try LinearMap(layer, "experts", inputs, experts * classes)
    return { x, pass in
      let seen = transform == "tanh" ? tanh(x) : transform == "sigmoid" ? sigmoid(x) : x
      let prior = gate(seen, pass).logSoftmax()
      let each = scores(x, pass).reshaped([x.shape[0], experts, classes]).logSoftmax()
      let joint = (each + prior.expanded()).permuted([0, 2, 1])
      return joint.logSumExp().reshaped([x.shape[0], classes])
    }
  }

  /// x + scale Y, or f(x) + x + scale Y beside layers f: Y = C A(D^T x), D the softmax over tokens and C the softmax over
  /// slots of x Phi, A_i(s) = W_up,i gelu(W_down,i s) for the slots of expert i. W_up starts at 0: f(x) + x.
  static let softMoA = Method.layer(
    "soft_moa", area: "sequence",
    summary: "Soft mixture of adapters beside a sublayer: experts see weighted means of the tokens, none is dropped.",
    reference: Reference(
      "Cappellazzo, Falavigna, Brutti", 2024,
      "Efficient Fine-tuning of Audio Spectrogram Transformers via Soft Mixture of Adapters", arXiv: "2402.00828"),
    options: [
      .integer("experts", 7, in: 1...1024, "Adapters."),
      .integer("slots_per_expert", 1, in: 1...1024, "Means of tokens that each adapter sees."),
      .integer("bottleneck", 0, in: 0...65_536, "Width of an adapter; 0: an eighth of the tokens'."),
      LayerOption(.text("layers", "", "The sublayer that the adapters stand beside."), .layers),
      .real("scale", 1, "Of the adapters' result."),
      .boolean(
        "normalize", false, "Scores of unit vectors times a trained scale. Puigcerver et al., 2023 (arXiv 2308.00951)."),
    ], main: "experts"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(2...2, "sequences (steps, width)")
    let (steps, width) = (layer.input[0], layer.input[1])
    let (experts, slots, scale) = (layer.integer("experts"), layer.integer("slots_per_expert"), layer.real("scale"))
    let inner = layer.integer("bottleneck") == 0 ? max(width / 8, 1) : layer.integer("bottleneck")
    try layer.requireSize([experts * slots, max(width, inner, steps)])
    let body = try layer.options.layers("layers").map { (layers) throws(TemperError) in try layer.sequence(layers) }
    if let body, body.output.shape != layer.input {
      throw TemperError(
        .invalidShape, "The sublayer must keep the shape \(layer.input) to be added; it gives \(body.output.shape).")
    }
    let phi = try layer.parameter(
      "phi", [width, experts * slots], .lecunNormal, fanIn: width, fanOut: experts * slots)
    let temperature = layer.boolean("normalize") ? try layer.parameter("scale", [], .ones) : nil
    let down = try layer.parameter("down", [experts, inner, width], .fanInUniform, fanIn: width)
    let up = try layer.parameter("up", [experts, width, inner], .zeros)
    return { x, pass in
      let batch = x.shape[0]
      var scores: Expression
      if let temperature {
        let columns = pass[phi].transposed
        let unit = (columns / maximum(columns.rowNorms(), 1e-12)).transposed
        scores = pass[temperature] * Expression.matmul(x / maximum(x.rowNorms(), 1e-12), unit)
      } else {
        scores = Expression.matmul(x, pass[phi])
      }
      // (N, slots, T): a softmax over tokens, of which padding is none.
      let dispatch = scores.transposed.softmax(among: pass.mask.map { ($0 .!= 0).expanded(1) })
      let means = Expression.matmul(dispatch, x).reshaped([batch, experts, slots, width])
      let grouped = means.permuted([1, 0, 2, 3]).reshaped([experts, batch * slots, width])
      let hidden = Expression.matmul(grouped, pass[down], transposeB: true)
      let adapted = Expression.matmul(hidden * normalCDF(hidden), pass[up], transposeB: true)
        .reshaped([experts, batch, slots, width]).permuted([1, 0, 2, 3]).reshaped([batch, experts * slots, width])
      let y = x + scale * Expression.matmul(scores.softmax(), adapted)
      return body.map { $0.forward(x, pass) + y } ?? y
    }
  }
}

extension Expression {
  /// The softmax over the K largest of each row, 0 elsewhere; among equals the first are taken.
  func topSoftmax(_ count: Int) -> Expression {
    if count >= shape.last { return softmax() }
    let least = sorted(descending: true).slice((count - 1)..<count, axis: -1)
    let (isAbove, isEqual) = (self .> least, self .== least)
    let isKept = isAbove .| (isEqual .& (isEqual.cumulativeSum() .<= (Double(count) - isAbove.sum())))
    return softmax(among: isKept.stopGradient)
  }

  /// The softmax over the elements of each row that a mask leaves, 0 elsewhere; 0 everywhere if it leaves none.
  func softmax(among mask: Expression?) -> Expression {
    guard let mask else { return softmax() }
    return .select(mask, Expression.select(mask, self, .constant(-.infinity)).softmax(), .constant(0))
  }
}
