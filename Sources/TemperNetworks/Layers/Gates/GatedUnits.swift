import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  static let gatedUnits: [Method] = [
    gatedUnit(
      "glu", "sigmoid", "Language Modeling with Gated Convolutional Networks", "Dauphin, Fan, Auli, Grangier", 2017,
      "1612.08083"),
    gatedUnit("geglu", "gelu"), gatedUnit("swiglu", "silu"), gatedUnit("reglu", "relu"),
    gatedUnit("bilinear_glu", "none"),
  ]

  /// a * gate(b): a and b two dense layers of x, or without a size the halves of x along the last axis.
  private static func gatedUnit(
    _ name: String, _ gate: String, _ title: String = "GLU Variants Improve Transformer",
    _ authors: String = "Shazeer", _ year: Int = 2020, _ arXiv: String = "2002.05202"
  ) -> Method {
    Method.layer(
      name, summary: "A product of two linear maps, one \(gate == "none" ? "as it is" : "through \(gate)").",
      reference: Reference(authors, year, title, arXiv: arXiv),
      options: [
        .integer("size", 0, in: 0...(1 << 40), "Outputs; 0: the two halves of the last axis, without weights."),
        .boolean("bias", true, "Add trained biases."), .initializer("initializer", "fan_in_uniform"),
      ], main: "size"
    ) { (layer) throws(TemperError) in
      try layer.requireRank(1...7, "samples with at least one axis")
      let (size, inputs) = (layer.integer("size"), layer.input.last)
      @Sendable func gated(_ y: Expression) -> Expression {
        let half = y.shape.last / 2
        let (a, b) = (y.slice(0..<half, axis: -1), y.slice(half..<(2 * half), axis: -1))
        return switch gate {
        case "sigmoid": a * sigmoid(b)
        case "gelu": a * (b * normalCDF(b))
        case "silu": a * (b * sigmoid(b))
        case "relu": a * relu(b)
        default: a * b
        }
      }
      guard size > 0 else {
        guard inputs % 2 == 0 else {
          throw TemperError(.invalidShape, "An axis of \(inputs) has no two halves; give a size.")
        }
        return { x, _ in gated(x) }
      }
      guard size <= Shape.maximumCount / 2 else { throw TemperError(.invalidShape, "The size \(size) is too large.") }
      try layer.requireSize(layer.input.sizes.dropLast() + [2 * size])
      let weight = try layer.parameter(
        "weight", [2 * size, inputs], layer.initializer(), fanIn: inputs, fanOut: size, use: .product)
      guard layer.boolean("bias") else { return { x, pass in gated(pass.product(x, weight)) } }
      let bias = try layer.parameter("bias", [2 * size], .fanInUniform, fanIn: inputs)
      return { x, pass in gated(pass.product(x, weight) + pass[bias]) }
    }
  }

  /// x * sigmoid(W_2 relu(W_1 mean(x) + b_1) + b_2), a factor for each channel.
  static let squeezeExcite = Method.layer(
    "squeeze_excite", summary: "Scales the channels of an image by a gate computed from their means.",
    reference: Reference("Hu, Shen, Albanie, Sun, Wu", 2017, "Squeeze-and-Excitation Networks", arXiv: "1709.01507"),
    options: [.integer("reduction", 16, in: 1...65_536, "Channels over the width in the middle, which is at least 1.")],
    main: "reduction"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(3...3, "images (channels, height, width)")
    let channels = layer.input[0]
    let middle = max(channels / layer.integer("reduction"), 1)
    let squeeze = try LinearMap(layer, "squeeze", channels, middle)
    let excite = try LinearMap(layer, "excite", middle, channels)
    return { x, pass in
      let pooled = x.mean(axes: [2, 3]).reshaped([x.shape[0], channels])
      let gate = sigmoid(excite(relu(squeeze(pooled, pass)), pass))
      return x * gate.reshaped([x.shape[0], channels, 1, 1])
    }
  }
}

/// x W^T + b as a part of a layer: "name.weight" (out, in) and "name.bias" (out).
struct LinearMap: Sendable {
  private let weight: String, bias: String?

  init(
    _ layer: LayerBuilder, _ name: String, _ inputs: Int, _ outputs: Int, hasBias: Bool = true,
    _ initializer: Initializer = .fanInUniform, biasInitializer: Initializer = .fanInUniform
  ) throws(TemperError) {
    weight = try layer.parameter(
      name + ".weight", [outputs, inputs], initializer, fanIn: inputs, fanOut: outputs, use: .product)
    bias = hasBias ? try layer.parameter(name + ".bias", [outputs], biasInitializer, fanIn: inputs) : nil
  }

  /// Along the last axis.
  func callAsFunction(_ x: Expression, _ pass: Pass) -> Expression {
    let y = pass.product(x, weight)
    return bias.map { y + pass[$0] } ?? y
  }
}

/// Scale and shift after normalization along the last axis: "name.weight" (ones) and "name.bias" (zeros).
struct AffineNorm: Sendable {
  private let weight: String, bias: String
  private let epsilon: Double

  init(_ layer: LayerBuilder, _ name: String, _ size: Int, epsilon: Double = 1e-5) throws(TemperError) {
    weight = try layer.parameter(name + ".weight", [size], .ones)
    bias = try layer.parameter(name + ".bias", [size], .zeros)
    self.epsilon = epsilon
  }

  func callAsFunction(_ x: Expression, _ pass: Pass) -> Expression {
    x.standardized(epsilon) * pass[weight] + pass[bias]
  }
}
