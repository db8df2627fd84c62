import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// The held layers as they are: in inference mode, without gradients for their parameters.
  static let frozen = Method.layer(
    "frozen", summary: "Layers that are not trained: no optimizer moves them, and they run as in inference.",
    options: [LayerBuilder.heldLayers], main: "layers"
  ) { (layer) throws(TemperError) in
    let body = try layer.freezing { () throws(TemperError) in try layer.held() }
    return { x, pass in pass.inInference { body.forward(x, pass) } }
  }

  private static let rank = LayerOption.integer("rank", 8, in: 1...65_536, "Rank of the update.")
  private static let scale = LayerOption.real("alpha", 16, "The update is scaled by alpha / rank.")

  /// W + alpha / rank B A, A (rank, in) uniform as a dense layer's weights, B (out, rank) zero: W at the start. W is
  /// frozen; biases and other vectors of the held layers too.
  static let lora = Method.layer(
    "lora", summary: "Freezes the layers that it holds and trains a low-rank update of each weight.",
    reference: Reference(
      "Hu et al.", 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv: "2106.09685"),
    options: [LayerBuilder.heldLayers, rank, scale], main: "layers"
  ) { (layer) throws(TemperError) in
    let (rank, alpha) = (layer.integer("rank"), layer.real("alpha"))
    return try layer.reparametrized(freezing: true) { (weight) throws(TemperError) in
      let update = try lowRank(weight, rank, alpha)
      return { w, pass in w + update(pass).reshaped(w.shape) }
    }
  }

  /// m (W + alpha / rank B A) / |W + alpha / rank B A| for each output: a trained length, a direction moved by a
  /// low-rank update. m starts at |W|, so W at the start.
  static let dora = Method.layer(
    "dora", summary: "As lora, with the length of each output's weights trained apart from their direction.",
    reference: Reference(
      "Liu et al.", 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", arXiv: "2402.09353"),
    options: [
      LayerBuilder.heldLayers, rank, scale,
      .boolean("detach_norm", true, "The norm is constant for the gradient, as the paper's section 4.3 has it."),
    ], main: "layers"
  ) { (layer) throws(TemperError) in
    let (rank, alpha, detach) = (layer.integer("rank"), layer.real("alpha"), layer.boolean("detach_norm"))
    return try layer.reparametrized(freezing: true) { (weight) throws(TemperError) in
      let (rows, columns) = (weight.rows, weight.columns)
      let update = try lowRank(weight, rank, alpha)
      let magnitude = try weight.parameter("magnitude", [rows, 1], .ones)
      weight.start(magnitude, weight.rowNorms)
      return { w, pass in
        let moved = w.reshaped([rows, columns]) + update(pass)
        let norm = moved.rowNorms()
        return (moved * (pass[magnitude] / (detach ? norm.stopGradient : norm))).reshaped(w.shape)
      }
    }
  }

  /// alpha / rank B A, (rows, columns).
  private static func lowRank(
    _ weight: WeightRows, _ rank: Int, _ alpha: Double
  ) throws(TemperError) -> @Sendable (Pass) -> Expression {
    let down = try weight.parameter("lora_a", [rank, weight.columns], .fanInUniform, fanIn: weight.columns)
    let up = try weight.parameter("lora_b", [weight.rows, rank], .zeros)
    return { pass in Expression.matmul(pass[up], pass[down]) * (alpha / Double(rank)) }
  }

  /// In training each element of W is the pretrained one with probability p, and the result is scaled around it to
  /// keep the mean: (M w + (1 - M) u - p u) / (1 - p), M = 1 with probability 1 - p; w at inference.
  static let mixout = Method.layer(
    "mixout", summary: "Swaps weights for their pretrained values at random in training.",
    reference: Reference(
      "Lee, Cho, Kang", 2020, "Mixout: Effective Regularization to Finetune Large-scale Pretrained Language Models",
      arXiv: "1909.11299"),
    options: [
      LayerBuilder.heldLayers,
      .real("p", 0.5, in: .belowOne, "Probability that an element is the pretrained one."),
    ], main: "layers"
  ) { (layer) throws(TemperError) in
    let p = layer.real("p")
    return try layer.reparametrized { (weight) throws(TemperError) in
      let pretrained = try weight.parameter("pretrained", weight.shape.sizes, .zeros, isFrozen: true)
      weight.start(pretrained) { $0 }
      return { w, pass in
        guard pass.mode == .training, p > 0 else { return w }
        let u = pass[pretrained]
        let mixed = Expression.select(pass.uniform(w.shape) .>= p, w, u)
        return (mixed - p * u) / (1 - p)
      }
    }
  }
}
