import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  private static let naf = Reference(
    "Chen, Chu, Zhang, Sun", 2022, "Simple Baselines for Image Restoration", arXiv: "2204.04676")

  /// y = x + beta conv1(sca(gate(depthwise(conv1(norm(x)))))), then y + gamma conv1(gate(conv1(norm(y)))), where gate
  /// multiplies the two halves of the channels, sca(u) = u (W mean(u) + b), and norm is over the channels of a pixel.
  /// beta and gamma start at 0: the identity.
  static let nafnetBlock = Method.layer(
    "nafnet_block", area: "regularize",
    summary: "A convolution block for image restoration without the usual activations.", reference: naf,
    options: [
      .integer("dw_expand", 2, in: 1...64, "Channels of the depthwise convolution over those that come in."),
      .integer("ffn_expand", 2, in: 1...64, "Channels of the second part over those that come in."),
      .real("ln_eps", 1e-6, in: .positive, "Added to the variance."),
    ]
  ) { (layer) throws(TemperError) in
    try layer.requireRank(3...3, "images (channels, height, width)")
    let (channels, epsilon) = (layer.input[0], layer.real("ln_eps"))
    let (wide, deep) = (channels * layer.integer("dw_expand"), channels * layer.integer("ffn_expand"))
    guard wide % 2 == 0, deep % 2 == 0 else {
      throw TemperError(.invalidShape, "The gate halves the channels: \(wide) and \(deep) must be even.")
    }
    try layer.requireSize([max(wide, deep), layer.input[1] + 2, layer.input[2] + 2])
    let norm1 = try AffineNorm(layer, "norm1", channels, epsilon: epsilon)
    let conv1 = try LinearMap(layer, "conv1", channels, wide)
    let depthwise = Convolution(padding: [1, 1], groups: wide)
    let conv2 = try layer.parameter(
      "conv2.weight", [wide, 1, 3, 3], .fanInUniform, fanIn: 9, fanOut: 9, use: .convolution(depthwise))
    let conv2Bias = try layer.parameter("conv2.bias", [wide], .fanInUniform, fanIn: 9)
    let attention = try LinearMap(layer, "sca", wide / 2, wide / 2)
    let conv3 = try LinearMap(layer, "conv3", wide / 2, channels)
    let norm2 = try AffineNorm(layer, "norm2", channels, epsilon: epsilon)
    let conv4 = try LinearMap(layer, "conv4", channels, deep)
    let conv5 = try LinearMap(layer, "conv5", deep / 2, channels)
    let beta = try layer.parameter("beta", [channels, 1, 1], .zeros)
    let gamma = try layer.parameter("gamma", [channels, 1, 1], .zeros)
    return { x, pass in
      // (N, C, H, W) <-> (N, H, W, C): a 1 x 1 convolution is a product along the last axis.
      func last(_ x: Expression) -> Expression { x.permuted([0, 2, 3, 1]) }
      func first(_ x: Expression) -> Expression { x.permuted([0, 3, 1, 2]) }
      var u = first(conv1(norm1(last(x), pass), pass))
      u =
        (pass.replaced(conv2, u) ?? u.convolved(with: pass[conv2], depthwise))
        + pass[conv2Bias].reshaped([wide, 1, 1])
      u = u.halvesMultiplied(axis: 1)
      let means = u.mean(axes: [2, 3]).reshaped([x.shape[0], wide / 2])
      u = u * attention(means, pass).reshaped([x.shape[0], wide / 2, 1, 1])
      let y = x + pass[beta] * first(conv3(last(u), pass))
      let v = conv4(norm2(last(y), pass), pass).halvesMultiplied(axis: 3)
      return y + pass[gamma] * first(conv5(v, pass))
    }
  }
}

extension Expression {
  /// The first half along an axis times the second.
  fileprivate func halvesMultiplied(axis: Int) -> Expression {
    let half = shape[axis] / 2
    return slice(0..<half, axis: axis) * slice(half..<(2 * half), axis: axis)
  }
}
