import TemperCatalogue
import TemperCore
import TemperGraph

/// Trained vectors in front of a sequence. What they stand before is usually inside "frozen".
extension Layers {
  private static let tokens = LayerOption.integer(
    "n_tokens", 10, in: 1...65_536, "Vectors put in front of the sequence.")

  /// [P^T; x], P = A B of rank b: b (width + tokens) numbers in place of width * tokens.
  static let decomposedPromptTuning = Method.layer(
    "decomposed_prompt_tuning", area: "sequence",
    summary: "Puts a trained prompt of low rank in front of a sequence.",
    reference: Reference(title: "Decomposed Prompt Tuning via Low-Rank Reparameterization", arXiv: "2310.10094"),
    options: [
      .integer("c", 100, in: 1...65_536, "Vectors put in front of the sequence.").named(also: "n_tokens"),
      .integer("b", 10, in: 1...65_536, "Rank of the prompt.").named(also: "rank"),
    ], main: "c"
  ) { (layer) throws(TemperError) in
    let (width, count, rank) = (try promptWidth(layer, layer.integer("c")), layer.integer("c"), layer.integer("b"))
    let start = Initializer.uniform(low: -0.5, high: 0.5)
    let a = try layer.parameter("a", [width, rank], start)
    let b = try layer.parameter("b", [rank, count], start)
    return { x, pass in x.prompted(Expression.matmul(pass[a], pass[b]).transposed, pass) }
  }

  /// [P'; x], P' = P + norm(W_up relu(W_down P + b_1) + b_2) row by row.
  static let residualPromptTuning = Method.layer(
    "residual_prompt_tuning", area: "sequence",
    summary: "Puts a trained prompt in front of a sequence, reparametrised by a shallow residual network.",
    reference: Reference(
      "Razdaibiedina et al.", 2023,
      "Residual Prompt Tuning: Improving Prompt Tuning with Residual Reparameterization", arXiv: "2305.03937"),
    options: [
      tokens.named(also: "n_prompt"), .integer("bottleneck", 800, in: 1...65_536, "Width of the network."),
      .boolean("layer_norm", true, "Normalize what the network adds."),
      .real("dropout", 0, in: .belowOne, "Probability that an element of what it adds is dropped."),
      .boolean("separate_mlps", false, "A network for each vector."),
    ], main: "n_tokens"
  ) { (layer) throws(TemperError) in
    let (count, inner, p) = (layer.integer("n_tokens"), layer.integer("bottleneck"), layer.real("dropout"))
    let width = try promptWidth(layer, count)
    let copies = layer.boolean("separate_mlps") ? count : 1
    try layer.requireSize([copies, inner, width])
    let prompt = try layer.parameter("prompt", [count, width], .uniform(low: -0.5, high: 0.5))
    let down = try layer.parameter("down.weight", [copies, inner, width], .fanInUniform, fanIn: width)
    let downBias = try layer.parameter("down.bias", [copies, 1, inner], .fanInUniform, fanIn: width)
    let up = try layer.parameter("up.weight", [copies, width, inner], .fanInUniform, fanIn: inner)
    let upBias = try layer.parameter("up.bias", [copies, 1, width], .fanInUniform, fanIn: inner)
    let norm = layer.boolean("layer_norm") ? try AffineNorm(layer, "norm", width) : nil
    return { x, pass in
      let rows = pass[prompt].reshaped([copies, count / copies, width])
      let hidden = relu(Expression.matmul(rows, pass[down], transposeB: true) + pass[downBias])
      var added = (Expression.matmul(hidden, pass[up], transposeB: true) + pass[upBias]).reshaped([count, width])
      if let norm { added = norm(added, pass) }
      return x.prompted(pass[prompt] + added.dropout(p, pass), pass)
    }
  }

  /// S = g(A^T Z) W_up + b in front of a sequence H, Z = H W_down^T and A the softmax over positions of Z W_sa: prompts
  /// made from the sequence. g is a trained rational function sum a_j x^j / (1 + |sum b_k x^k|) of degrees 6 and 5. With
  /// layers each of them gets prompts of its own in place of those before; W_down and W_up are shared, W_sa and g are not,
  /// and the prompts are left out of the result.
  static let instructionAwarePrompt = Method.layer(
    "instruction_aware_prompt", area: "sequence",
    summary: "Puts prompts in front of a sequence, or of each layer, that a small network makes from the sequence.",
    reference: Reference(title: "IAPT: Instruction-Aware Prompt Tuning for Large Language Models", arXiv: "2405.18203"),
    options: [
      .integer("n_tokens", 4, in: 1...65_536, "Prompts for each layer."),
      .integer("bottleneck", 128, in: 1...65_536, "Width of the network."),
      .choice("start", ["gelu", "relu"], "What the rational function is fitted to at the start."),
      LayerOption(
        .text("layers", "", "Layers that each get prompts; without them one set comes out in front."), .layers),
    ], main: "n_tokens"
  ) { (layer) throws(TemperError) in
    let (count, inner) = (layer.integer("n_tokens"), layer.integer("bottleneck"))
    let width = try promptWidth(layer, count)
    let steps = layer.input[0]
    let start = RationalFunction.starts(layer.text("start"))
    let shared = (
      try LinearMap(layer, "down", width, inner, hasBias: false), try LinearMap(layer, "up", inner, width)
    )
    func generator(_ name: String) throws(TemperError) -> @Sendable (Expression, Pass) -> Expression {
      let pooling = try LinearMap(layer, name + "pool", inner, count, hasBias: false)
      let activation = try RationalFunction(layer, name + "activation", start)
      return { h, pass in
        let z = shared.0(h, pass)
        let weights = pooling(z, pass).transposed.softmax(among: pass.mask.map { ($0 .!= 0).expanded(1) })
        return shared.1(activation(Expression.matmul(weights, z), pass), pass)
      }
    }
    guard let layers = try layer.options.layers("layers") else {
      let make = try generator("")
      return { x, pass in x.prompted(make(x, pass), pass) }
    }
    var parts: [(make: @Sendable (Expression, Pass) -> Expression, body: BuiltLayer)] = []
    for (index, json) in layers.enumerated() {
      let make = try generator("\(index).")
      let body = try layer.layer(json, named: String(index), input: Signature([steps + count, width]))
      guard body.output.shape == [steps + count, width] else {
        throw TemperError(
          .invalidShape,
          "Each layer must keep the shape \(Shape([steps + count, width])) of prompts and sequence; layer \(index) gives \(body.output.shape)."
        )
      }
      parts.append((make, body))
    }
    let all = parts
    return { x, pass in
      let mask = pass.mask
      var h = x
      for part in all {
        pass.mask = mask
        h = part.body.forward(h.prompted(part.make(h, pass), pass), pass).slice(count..<(count + steps), axis: 1)
      }
      pass.mask = mask
      return h
    }
  }

  /// The width of the sequences that prompts of so many vectors go in front of.
  private static func promptWidth(_ layer: LayerBuilder, _ count: Int) throws(TemperError) -> Int {
    try layer.requireRank(2...2, "sequences (steps, width)")
    try layer.requireSize([layer.input[0] + count, layer.input[1]])
    return layer.input[1]
  }
}

extension Expression {
  /// Vectors (count, D), or for each sample (N, count, D), in front of sequences (N, T, D); a mask goes on over them.
  fileprivate func prompted(_ prompt: Expression, _ pass: Pass) -> Expression {
    let (batch, count) = (shape[0], prompt.shape[prompt.shape.rank - 2])
    if let mask = pass.mask, mask.shape == [batch, shape[1]] {
      pass.mask = .concatenate([.constant(1, [batch, count]), mask], axis: 1)
    }
    return .concatenate([prompt.broadcast(to: [batch, count, shape.last]), self], axis: 1)
  }
}

/// sum_j a_j x^j / (1 + |sum_k b_k x^k|), j = 0..6, k = 1..5: no poles. "name.a" and "name.b".
private struct RationalFunction: Sendable {
  private let numerator: String, denominator: String

  /// Least squares over [-5, 5]: within 0.004 of gelu, within 0.04 of relu.
  static func starts(_ name: String) -> (a: [Double], b: [Double]) {
    name == "gelu"
      ? (
        [-0.002110, 0.525404, 0.451119, 0.140333, 0.018557, 0.000927, 0.000014],
        [-0.207591, -0.061184, -0.096077, 0.016934, -0.001358]
      )
      : (
        [0.032642, 0.5, 1.742618, 2.219736, 1.213479, 0.289425, 0.024696], [0, -4.439472, 0, -0.578850, 0]
      )
  }

  init(_ layer: LayerBuilder, _ name: String, _ start: (a: [Double], b: [Double])) throws(TemperError) {
    numerator = try layer.parameter(name + ".a", [7], .values(start.a))
    denominator = try layer.parameter(name + ".b", [5], .values(start.b))
  }

  func callAsFunction(_ x: Expression, _ pass: Pass) -> Expression {
    /// Horner's rule from the highest coefficient on.
    func polynomial(_ name: String, _ count: Int) -> Expression {
      let coefficients = (0..<count).map { pass[name].slice($0..<($0 + 1)) }
      return coefficients.dropLast().reversed().reduce(coefficients[count - 1].broadcast(to: x.shape)) { $0 * x + $1 }
    }
    return polynomial(numerator, 7) / (1 + abs(x * polynomial(denominator, 5)))
  }
}
