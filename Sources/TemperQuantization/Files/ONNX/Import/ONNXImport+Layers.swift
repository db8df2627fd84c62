import TemperCore

/// Operators that are layers of their own.
extension ONNXImport {
  /// nil for other operators.
  func layer(_ node: ONNXNode, _ x: ImportedFlow, _ tensors: [Tensor?]) throws(TemperError) -> ImportedFlow? {
    func weight(_ index: Int) -> Tensor? { index < tensors.count ? tensors[index] : nil }
    func none(_ why: String) -> TemperError { ONNXImport.unsupported(node.title, why) }
    func image() throws(TemperError) -> ImportedFlow {
      let placed = try x.placed(batch: batch, title: node.title)
      guard placed.shape.rank == 4 else { throw none("It must read images (batch, channels, height, width).") }
      return placed
    }
    func along(_ flow: ImportedFlow, _ name: String, axes: Int, _ options: [JSON.Member]) throws(TemperError)
      -> ImportedFlow
    {
      var weights: [String: Tensor] = [:]
      weights["weight"] = weight(1)
      weights["bias"] = weight(2)
      var flow = flow
      let isWhole =
        flow.layer.shape.count >= axes && flow.shape.sizes.suffix(axes) == flow.layer.shape.suffix(axes)
      if !isWhole || axes > 1 || flow.map != nil {
        if axes == 1, isWhole, let kept = try flow.rows(flow.layer, width: flow.shape.last) {
          flow = kept
        } else {
          flow = try flow.placed(batch: batch, title: node.title)
        }
      }
      let more = axes > 1 ? [JSON.Member("axes", .integer(axes))] : []
      return try flow.on(ImportedLayer(.layer, name, on: flow.layer, options: options + more, weights: weights))
    }
    let epsilon = [JSON.Member("epsilon", .real(node.real("epsilon", 1e-5)))]
    func axes() throws(TemperError) -> Int {
      let axis = node.integer("axis", -1)
      let count = axis < 0 ? -axis : x.shape.rank - axis
      guard (1..<max(x.shape.rank, 2)).contains(count) else { throw none("Its axes hold the batch.") }
      return count
    }
    switch node.operation {
    case "Gemm":
      guard node.integer("transA") == 0, let matrix = weight(1), matrix.shape.rank == 2, x.shape.rank == 2 else {
        throw none("It must multiply by a matrix of the file.")
      }
      let turned = node.integer("transB") == 1 ? matrix : try matrix.permuted([1, 0])
      let y = try dense(x, try scaled(turned, node.real("alpha", 1)), node.title)
      guard let bias = weight(2) else { return y }
      guard let whole = try biased(y, try scaled(bias, node.real("beta", 1))) else {
        throw none("Its bias does not fit.")
      }
      return whole
    case "MatMul":
      guard let matrix = weight(1) else { return nil }
      guard matrix.shape.rank == 2 else { throw none("It must multiply by one matrix.") }
      return try dense(x, try matrix.permuted([1, 0]), node.title)
    case "Conv":
      let placed = try image()
      guard let kernel = weight(1), kernel.shape.rank == 4 else { throw none("Its kernel must be in the file.") }
      let (stride, dilation) = (node.integers("strides", [1, 1]), node.integers("dilations", [1, 1]))
      let padding = try padding(node)
      let size = kernel.shape.sizes.suffix(2).map { $0 }
      var weights = ["weight": kernel]
      weights["bias"] = weight(2)
      let sides = try sides(placed, size, stride, padding, dilation, node)
      let layer = ImportedLayer(
        .layer, "conv2d", on: placed.layer, shape: [kernel.shape[0]] + sides,
        options: [
          JSON.Member("channels", .integer(kernel.shape[0])), pair("kernel_size", size), pair("stride", stride),
          pair("padding", padding), pair("dilation", dilation),
          JSON.Member("groups", .integer(node.integer("group", 1))),
        ], weights: weights)
      return try ImportedFlow(layer, Shape([batch] + layer.shape))
    case "MaxPool", "AveragePool":
      let placed = try image()
      let (size, padding) = (node.integers("kernel_shape", []), try padding(node))
      let stride = node.integers("strides", [1, 1])
      guard size.count == 2, node.integer("ceil_mode") == 0, node.integers("dilations", [1, 1]) == [1, 1],
        node.operation == "MaxPool" || node.integer("count_include_pad") == 0 || padding == [0, 0]
      else { throw none("Windows are of two dimensions, without dilation, rounding up or counting what is padded.") }
      let sides = try sides(placed, size, stride, padding, [1, 1], node)
      let layer = ImportedLayer(
        .layer, node.operation == "MaxPool" ? "max_pool" : "average_pool", on: placed.layer,
        shape: [placed.layer.shape[0]] + sides,
        options: [pair("size", size), pair("stride", stride), pair("padding", padding)])
      return try ImportedFlow(layer, Shape([batch] + layer.shape))
    case "GlobalAveragePool":
      let placed = try image()
      let layer = ImportedLayer(.layer, "global_average_pool", on: placed.layer, shape: [placed.shape[1]])
      return try ImportedFlow(layer, [batch, placed.shape[1], 1, 1])
    case "ReduceMean": return try mean(node, x, try weight(1)?.integers() ?? node.integers("axes", []))
    case "BatchNormalization":
      let placed = try x.placed(batch: batch, title: node.title)
      var weights: [String: Tensor] = [:]
      for (index, name) in ["weight", "bias", "running_mean", "running_var"].enumerated() {
        guard let tensor = weight(index + 1) else { throw none("Its statistics must be in the file.") }
        weights[name] = tensor
      }
      return try placed.on(
        ImportedLayer(.layer, "batch_norm", on: placed.layer, options: epsilon, weights: weights))
    case "LayerNormalization": return try along(x, "layer_norm", axes: try axes(), epsilon)
    case "RMSNormalization", "SimplifiedLayerNormalization", "com.microsoft.SimplifiedLayerNormalization":
      return try along(x, "rms_norm", axes: try axes(), epsilon)
    case "GroupNormalization", "InstanceNormalization":
      guard let scale = weight(1), let bias = weight(2) else { throw none("Its scale must be in the file.") }
      let isGroup = node.operation == "GroupNormalization"
      // PyTorch writes groups as channels of a reshaped array, with scales of one.
      let groups = isGroup ? node.integer("num_groups", 1) : x.shape.rank > 1 ? x.shape[1] : 1
      let channels = x.layer.shape.first ?? 0
      var weights = ["weight": scale, "bias": bias]
      if scale.count != channels {
        let (ones, zeros) = (try scale.array(), try bias.array())
        guard ones.allSatisfy({ $0 == 1 }), zeros.allSatisfy({ $0 == 0 }) else {
          throw none("Its scale must be by channel.")
        }
        weights = [:]
      }
      guard x.map == nil, x.shape.rank > 1, x.shape[0] == batch, groups > 0, channels % groups == 0 else {
        throw none("It must read groups of channels.")
      }
      return try x.on(
        ImportedLayer(
          .layer, "group_norm", on: x.layer, options: [JSON.Member("groups", .integer(groups))] + epsilon,
          weights: weights))
    case "Softmax", "LogSoftmax":
      let axis = node.integer("axis", program.operatorSet < 13 ? 1 : -1)
      guard axis == -1 || axis == x.shape.rank - 1 else { throw none("It must be along the last axis.") }
      let rows = try x.rows(x.layer, width: x.shape.last)
      let flow = if let rows { rows } else { try x.placed(batch: batch, title: node.title) }
      return try flow.on(
        ImportedLayer(.layer, node.operation == "Softmax" ? "softmax" : "log_softmax", on: flow.layer))
    default: return try activation(node, x)
    }
  }

  /// Activations that are one operator, with the option that an attribute gives.
  private func activation(_ node: ONNXNode, _ x: ImportedFlow) throws(TemperError) -> ImportedFlow? {
    var options: [JSON.Member] = []
    let name: String
    switch node.operation {
    case "Gelu":
      (name, options) = ("gelu", [JSON.Member("approximate", .text(node.attributes["approximate"]?.text ?? "none"))])
    case "HardSwish": name = "hard_swish"
    case "Mish": name = "mish"
    case "Softsign": name = "softsign"
    case "Swish": (name, options) = ("silu", [JSON.Member("beta", .real(node.real("alpha", 1)))])
    case "Elu": (name, options) = ("elu", [JSON.Member("alpha", .real(node.real("alpha", 1)))])
    case "LeakyRelu":
      (name, options) = ("leaky_relu", [JSON.Member("negative_slope", .real(node.real("alpha", 0.01)))])
    default: return nil
    }
    return try x.on(ImportedLayer(.layer, name, on: x.layer, options: options))
  }

  private func mean(_ node: ONNXNode, _ x: ImportedFlow, _ given: [Int]) throws(TemperError) -> ImportedFlow? {
    let rank = x.shape.rank
    let (axes, keeps) = (given.map { $0 < 0 ? $0 + rank : $0 }.sorted(), node.integer("keepdims", 1) == 1)
    if axes == [rank - 1], keeps, rank > 1, x.map == nil, x.shape.last == x.layer.shape.last {
      // Seen at every place of the row, as broadcasting will.
      let layer = ImportedLayer(
        .pending(node.title), on: x.layer,
        row: { row in [Double](repeating: row.reduce(0, +) / Double(row.count), count: row.count) })
      return try x.on(layer)
    }
    let placed = try x.placed(batch: batch, title: node.title)
    guard rank == 4 && axes == [2, 3] || rank == 3 && axes == [1] else {
      throw ONNXImport.unsupported(node.title, "Means are over the positions of an image or the steps of a sequence.")
    }
    let width = rank == 4 ? placed.shape[1] : placed.shape[2]
    let layer = ImportedLayer(.layer, "global_average_pool", on: placed.layer, shape: [width])
    let kept = rank == 4 ? [batch, width, 1, 1] : [batch, 1, width]
    return try ImportedFlow(layer, keeps ? Shape(kept) : [batch, width])
  }

  private func pair(_ name: String, _ values: [Int]) -> JSON.Member {
    JSON.Member(name, .array(values.map { .integer($0) }))
  }

  private func padding(_ node: ONNXNode) throws(TemperError) -> [Int] {
    let pads = node.integers("pads", [0, 0, 0, 0])
    let mode = node.attributes["auto_pad"]?.text ?? "NOTSET"
    guard pads.count == 4, pads[0] == pads[2], pads[1] == pads[3], mode == "NOTSET" || mode == "VALID" else {
      throw ONNXImport.unsupported(node.title, "Both sides are padded alike, in two dimensions.")
    }
    return mode == "VALID" ? [0, 0] : [pads[0], pads[1]]
  }

  /// Height and width that windows give.
  private func sides(
    _ x: ImportedFlow, _ size: [Int], _ stride: [Int], _ padding: [Int], _ dilation: [Int], _ node: ONNXNode
  ) throws(TemperError) -> [Int] {
    let limit = 0...(1 << 20)
    guard stride.count == 2, dilation.count == 2, (size + stride + padding + dilation).allSatisfy({ limit ~= $0 }),
      stride.allSatisfy({ $0 > 0 }), x.shape.sizes.allSatisfy({ $0 <= 1 << 40 })
    else { throw ONNXImport.unsupported(node.title, "Its windows are of two dimensions.") }
    let sides = (0..<2).map { (x.shape[2 + $0] + 2 * padding[$0] - dilation[$0] * (size[$0] - 1) - 1) / stride[$0] + 1 }
    guard sides.allSatisfy({ $0 > 0 }) else {
      throw TemperError(.malformedFile, "The windows of \(node.title) are larger than the image.")
    }
    return sides
  }

  private func scaled(_ x: Tensor, _ factor: Double) throws(TemperError) -> Tensor {
    factor == 1 ? x : try Tensor(try x.array().map { $0 * factor }, shape: x.shape)
  }

  /// x W^T over the last axis; the output's projection where the layer is attention.
  private func dense(_ x: ImportedFlow, _ weight: Tensor, _ title: String) throws(TemperError) -> ImportedFlow {
    guard x.shape.last == weight.shape[1] else {
      throw TemperError(.malformedFile, "\(title) multiplies shape \(x.shape) by a matrix of \(weight.shape[1]) rows.")
    }
    func layer(_ below: ImportedLayer) -> ImportedLayer {
      if below.name == "multi_head_attention", below.weights["out_proj.weight"] == nil,
        weight.shape == [below.shape[1], below.shape[1]]
      {
        return below.with(["out_proj.weight": weight])
      }
      return ImportedLayer(
        .layer, "dense", on: below, shape: below.shape.dropLast() + [weight.shape[0]],
        options: [JSON.Member("size", .integer(weight.shape[0]))], weights: ["weight": weight])
    }
    if let flow = try x.rows(layer(x.layer), width: weight.shape[0]) { return flow }
    let placed = try x.placed(batch: batch, title: title)
    guard let flow = try placed.rows(layer(placed.layer), width: weight.shape[0]) else {
      throw ONNXImport.unsupported(title)
    }
    return flow
  }

  /// The layer of x with a bias, where it has none yet and this is one; nil otherwise.
  func biased(_ x: ImportedFlow, _ bias: Tensor) throws(TemperError) -> ImportedFlow? {
    let layer = x.layer
    guard case .layer = layer.form else { return nil }
    func channels(_ count: Int) -> Bool {
      let axis = bias.shape.rank - layer.shape.count
      return bias.count == count && axis >= 0 && bias.shape[axis] == count
    }
    let name: String
    switch layer.name {
    case "dense" where layer.weights["bias"] == nil && bias.count == layer.shape.last && bias.shape.last == bias.count:
      name = "bias"
    case "multi_head_attention"
    where layer.weights["out_proj.weight"] != nil && layer.weights["out_proj.bias"] == nil
      && bias.count == layer.shape.last && bias.shape.last == bias.count:
      name = "out_proj.bias"
    case "conv2d" where layer.weights["bias"] == nil && channels(layer.shape[0]): name = "bias"
    case "layer_norm"
    where layer.weights["weight"] != nil && layer.weights["bias"] == nil && bias.count == layer.shape.last
      && bias.shape.last == bias.count:
      name = "bias"
    case "group_norm" where layer.weights["weight"] != nil && layer.weights["bias"] == nil && channels(layer.shape[0]):
      name = "bias"
    default: return nil
    }
    return try x.on(layer.with([name: try bias.reshaped([bias.count])]))
  }

  /// The normalization of x with a scale, where it has none yet and this is one; nil otherwise.
  func weighted(_ x: ImportedFlow, _ scale: Tensor) throws(TemperError) -> ImportedFlow? {
    let layer = x.layer
    guard case .layer = layer.form, layer.weights.isEmpty else { return nil }
    switch layer.name {
    case "layer_norm", "rms_norm":
      guard scale.count == layer.shape.last, scale.shape.last == scale.count else { return nil }
    case "group_norm":
      guard scale.count == layer.shape[0], scale.shape.rank >= layer.shape.count,
        scale.shape[scale.shape.rank - layer.shape.count] == scale.count
      else { return nil }
    default: return nil
    }
    return try x.on(layer.with(["weight": try scale.reshaped([scale.count])]))
  }
}
