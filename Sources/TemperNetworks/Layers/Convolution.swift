import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// y[o] = sum over c of weight[o, c] * x[c] + b[o], * the cross-correlation in two dimensions; samples (C, H, W).
  /// "same" pads so that ceil(H / stride) rows come out, one more after than before where the number is odd.
  static let conv2d = Method.layer(
    "conv2d", summary: "A two-dimensional convolution over images (channels, height, width).",
    options: [
      .size("channels", "Channels that come out.").named(also: "out_channels"),
      .pair("kernel_size", 3, "Size of the kernel.").named(also: "kernel"),
      .pair("stride", 1, "Steps between windows."),
      LayerOption(
        .integer(
          "padding", 0, in: LayerOption.reachRange,
          "Zeros on each side. A number, [height, width], or \"same\" to keep the size up to the stride."), .padding),
      .pair("dilation", 1, "Distance between the kernel's elements."),
      .integer("groups", 1, "Groups of channels that do not see each other."),
      .boolean("bias", true, "Add a trained bias to each channel."), .initializer("initializer", "fan_in_uniform"),
      .initializer("bias_initializer", "fan_in_uniform", "Of the bias."),
    ],
    main: "channels"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(3...3, "images (channels, height, width)")
    let (channels, groups, inputs) = (layer.integer("channels"), layer.integer("groups"), layer.input[0])
    guard inputs % groups == 0, channels % groups == 0 else {
      throw TemperError(
        .invalidShape, "\(inputs) channels in and \(channels) out cannot be split into \(groups) groups.")
    }
    let (kernel, stride) = (try layer.options.pair("kernel_size"), try layer.options.pair("stride"))
    let dilation = try layer.options.pair("dilation")
    // What is padded by hand, before and after along each axis.
    var extra = [(0, 0), (0, 0)]
    var padding = [0, 0]
    if let given = try layer.options.padding("padding") {
      padding = given
    } else {
      for axis in 0..<2 {
        let size = layer.input[1 + axis]
        let needed = ((size - 1) / stride[axis]) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1 - size
        let total = max(needed, 0)
        // The convolution itself pads both sides alike.
        padding[axis] = total % 2 == 0 ? total / 2 : 0
        if total % 2 == 1 { extra[axis] = (total / 2, total / 2 + 1) }
      }
    }
    let reach = (0..<2).map { layer.input[1 + $0] + 2 * padding[$0] + extra[$0].0 + extra[$0].1 }
    try layer.requireSize([max(channels, inputs), reach[0], reach[1]])
    let convolution = Convolution(stride: stride, padding: padding, dilation: dilation, groups: groups)
    let field = kernel[0] * kernel[1]
    let (fanIn, fanOut) = (inputs / groups * field, channels * field)
    let weight = try layer.parameter(
      "weight", [channels, inputs / groups] + kernel, layer.initializer(), fanIn: fanIn, fanOut: fanOut,
      use: .convolution(convolution))
    let bias =
      layer.boolean("bias")
      ? try layer.parameter(
        "bias", [channels], layer.initializer("bias_initializer"), fanIn: fanIn, fanOut: fanOut) : nil
    let margins = extra
    return { x, pass in
      var padded = x
      for axis in 0..<2 where margins[axis] != (0, 0) {
        padded = padded.padded(before: margins[axis].0, after: margins[axis].1, axis: 2 + axis)
      }
      let y = pass.replaced(weight, padded) ?? padded.convolved(with: pass[weight], convolution)
      return bias.map { y + pass[$0].reshaped([channels, 1, 1]) } ?? y
    }
  }
}
