import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  private static let epsilon = LayerOption.real("epsilon", 1e-5, in: .positive, "Added to the variance.")
  private static let affine = LayerOption.boolean("affine", true, "Train a scale and a bias.")

  /// y = (x - mean) / sqrt(var + epsilon) * weight + bias, by channel. In training mean and biased variance are the
  /// batch's, and the running ones move: r <- (1 - momentum) r + momentum * (the batch's, variance unbiased).
  static let batchNorm = Method.layer(
    "batch_norm", summary: "Normalizes each channel by the batch in training and by running statistics afterwards.",
    reference: Reference(
      "Ioffe, Szegedy", 2015,
      "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
      arXiv: "1502.03167"),
    options: [
      epsilon, .real("momentum", 0.1, in: .unit, "Weight of a batch in the running statistics."), affine,
      .integer("axis", 0, in: -7...6, "Axis of a sample that counts the channels; 0 is the first."),
    ]
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...7, "samples with at least one axis")
    let given = layer.integer("axis")
    let axis = given < 0 ? given + layer.input.rank : given
    guard (0..<layer.input.rank).contains(axis) else {
      throw TemperError(.invalidArgument, "Samples of shape \(layer.input) have no axis \(given).")
    }
    let channels = layer.input[axis]
    let (epsilon, momentum) = (layer.real("epsilon"), layer.real("momentum"))
    let scale = try scaleAndBias(layer, [channels])
    let runningMean = try layer.buffer("running_mean", [channels], initial: 0)
    let runningVariance = try layer.buffer("running_var", [channels], initial: 1)
    var sizes = [Int](repeating: 1, count: layer.input.rank + 1)
    sizes[axis + 1] = channels
    let (byChannel, axes) = (Shape(sizes), (0...layer.input.rank).filter { $0 != axis + 1 })
    return { x, pass in
      guard pass.mode == .training else {
        let deviation = sqrt(pass[runningVariance] + epsilon)
        let centred = x - pass[runningMean].reshaped(byChannel)
        return scale(centred * reciprocal(deviation).reshaped(byChannel), byChannel, pass)
      }
      let mean = x.mean(axes: axes)
      let centred = x - mean
      let variance = square(centred).mean(axes: axes)
      let count = Double(max(x.shape.count / channels, 1))
      func move(_ running: String, _ value: Expression) {
        pass.update(running, to: pass[running] * (1 - momentum) + value.reshaped([channels]) * momentum)
      }
      move(runningMean, mean)
      // Of a single element the unbiased variance does not exist; the biased one, 0, stands for it.
      move(runningVariance, variance * (count > 1 ? count / (count - 1) : 1))
      return scale(centred * reciprocal(sqrt(variance + epsilon)), byChannel, pass)
    }
  }

  /// y = (x - mean) / sqrt(var + epsilon) * weight + bias over the last axes of each sample.
  static let layerNorm = Method.layer(
    "layer_norm", summary: "Normalizes the last axes of each sample.",
    reference: Reference("Ba, Kiros, Hinton", 2016, "Layer Normalization", arXiv: "1607.06450"),
    options: [epsilon, affine, .integer("axes", 1, in: 1...7, "How many of the last axes are normalized together.")]
  ) { (layer) throws(TemperError) in
    let last = try lastAxes(layer)
    let (count, epsilon, scale) = (last.count, layer.real("epsilon"), try scaleAndBias(layer, last.sizes))
    return { x, pass in
      let rows = x.reshaped([x.shape.count / max(count, 1), count])
      return scale(rows.standardized(epsilon), [count], pass).reshaped(x.shape)
    }
  }

  /// y = x / sqrt(mean(x^2) + epsilon) * weight over the last axes of each sample.
  static let rmsNorm = Method.layer(
    "rms_norm", summary: "Divides the last axes of each sample by their root mean square.",
    reference: Reference("Zhang, Sennrich", 2019, "Root Mean Square Layer Normalization", arXiv: "1910.07467"),
    options: [
      .real("epsilon", 1e-6, in: .positive, "Added to the mean square."),
      .boolean("affine", true, "Train a scale."),
      .integer("axes", 1, in: 1...7, "How many of the last axes are normalized together."),
    ]
  ) { (layer) throws(TemperError) in
    let last = try lastAxes(layer)
    let (count, epsilon) = (last.count, layer.real("epsilon"))
    let weight = layer.boolean("affine") ? try layer.parameter("weight", last.sizes, .ones) : nil
    return { x, pass in
      let rows = x.reshaped([x.shape.count / max(count, 1), count])
      let y = rows * reciprocal(sqrt(square(rows).mean() + epsilon))
      return (weight.map { y * pass[$0].reshaped([count]) } ?? y).reshaped(x.shape)
    }
  }

  /// The channels (first axis of a sample) in groups, each normalized with all its positions; scale and bias by channel.
  static let groupNorm = Method.layer(
    "group_norm", summary: "Normalizes groups of channels of each sample.",
    reference: Reference("Wu, He", 2018, "Group Normalization", arXiv: "1803.08494"),
    options: [.size("groups", "Groups of channels.").named(also: "num_groups"), epsilon, affine], main: "groups"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...7, "samples with at least one axis")
    let (groups, channels, epsilon) = (layer.integer("groups"), layer.input[0], layer.real("epsilon"))
    guard channels % groups == 0 else {
      throw TemperError(.invalidShape, "\(channels) channels cannot be split into \(groups) groups.")
    }
    let scale = try scaleAndBias(layer, [channels])
    let byChannel = Shape([channels] + [Int](repeating: 1, count: layer.input.rank - 1))
    let count = layer.input.count / groups
    return { x, pass in
      let rows = x.reshaped([x.shape[0] * groups, count])
      return scale(rows.standardized(epsilon).reshaped(x.shape), byChannel, pass)
    }
  }

  private static func lastAxes(_ layer: LayerBuilder) throws(TemperError) -> Shape {
    let axes = layer.integer("axes")
    guard axes <= layer.input.rank else {
      throw TemperError(.invalidShape, "Samples of shape \(layer.input) have no \(axes) axes.")
    }
    return Shape(Array(layer.input.sizes.suffix(axes)))
  }

  /// Declares "weight" (ones) and "bias" (zeros) unless affine is false; gives x * weight + bias with both seen under a
  /// shape that broadcasts over x.
  private static func scaleAndBias(
    _ layer: LayerBuilder, _ shape: [Int]
  ) throws(TemperError) -> @Sendable (_ x: Expression, _ seen: Shape, _ pass: Pass) -> Expression {
    guard layer.boolean("affine") else { return { x, _, _ in x } }
    let weight = try layer.parameter("weight", shape, .ones)
    let bias = try layer.parameter("bias", shape, .zeros)
    return { x, seen, pass in x * pass[weight].reshaped(seen) + pass[bias].reshaped(seen) }
  }
}

extension Expression {
  /// (x - mean) / sqrt(var + epsilon) over the last axis.
  func standardized(_ epsilon: Double) -> Expression {
    let centred = self - mean()
    return centred * reciprocal(sqrt(square(centred).mean() + epsilon))
  }
}
