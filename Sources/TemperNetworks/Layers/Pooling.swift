import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  private static let windowOptions: [LayerOption] = [
    .pair("size", 2, "Size of the window.").named(also: "kernel_size"),
    .pair("stride", 0, in: LayerOption.reachRange, "Steps between windows; 0 steps by the window's size."),
    .pair("padding", 0, in: LayerOption.reachRange, "Absent elements on each side, at most half a window."),
  ]

  private static func window(_ layer: LayerBuilder) throws(TemperError) -> Window {
    try layer.requireRank(3...3, "images (channels, height, width)")
    let size = try layer.options.pair("size")
    let stride = try layer.options.pair("stride")
    return Window(
      size: size, stride: (0..<2).map { stride[$0] == 0 ? size[$0] : stride[$0] },
      padding: try layer.options.pair("padding"))
  }

  static let maxPool = Method.layer(
    "max_pool", summary: "The largest element of each window of an image.", options: windowOptions, main: "size"
  ) { (layer) throws(TemperError) in
    let window = try window(layer)
    return { x, _ in x.maxPooled(window) }
  }

  static let averagePool = Method.layer(
    "average_pool", summary: "The mean over each window of an image; padding does not count.",
    options: windowOptions, main: "size"
  ) { (layer) throws(TemperError) in
    let window = try window(layer)
    return { x, _ in x.averagePooled(window) }
  }

  static let globalAveragePool = Method.layer(
    "global_average_pool",
    summary: "The mean over height and width of an image (C, H, W), or over the steps of a sequence (T, D)."
  ) { (layer) throws(TemperError) in
    try layer.requireRank(2...3, "images (channels, height, width) or sequences (steps, width)")
    if layer.input.rank == 3 { return { x, _ in x.mean(axes: [2, 3]).reshaped([x.shape[0], x.shape[1]]) } }
    return { x, _ in x.mean(axis: 1).squeezed(1) }
  }
}
