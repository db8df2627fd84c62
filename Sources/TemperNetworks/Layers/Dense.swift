import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// y = x W^T + b over the last axis; W (size, in), b (size,). Weight and bias start as PyTorch's.
  static let dense = Method.layer(
    "dense", summary: "A matrix product over the last axis and a bias: x W^T + b.",
    options: [
      .size("size", "Outputs.").named(also: "units"), .boolean("bias", true, "Add a trained bias."),
      .initializer("initializer", "fan_in_uniform"),
      .initializer("bias_initializer", "fan_in_uniform", "Of the bias."),
    ],
    main: "size"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...7, "samples with at least one axis")
    let (size, inputs) = (layer.integer("size"), layer.input.last)
    try layer.requireSize(layer.input.sizes.dropLast() + [size])
    let weight = try layer.parameter(
      "weight", [size, inputs], layer.initializer(), fanIn: inputs, fanOut: size, use: .product)
    guard layer.boolean("bias") else { return { x, pass in pass.product(x, weight) } }
    let bias = try layer.parameter("bias", [size], layer.initializer("bias_initializer"), fanIn: inputs, fanOut: size)
    return { x, pass in pass.product(x, weight) + pass[bias] }
  }
}
