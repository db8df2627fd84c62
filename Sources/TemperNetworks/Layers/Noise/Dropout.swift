import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// In training each element is 0 with probability p and x / (1 - p) otherwise; x at inference.
  static let dropout = Method.layer(
    "dropout", summary: "Zeroes elements at random in training and scales the others to keep the mean.",
    reference: Reference(
      "Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov", 2014,
      "Dropout: A Simple Way to Prevent Neural Networks from Overfitting"),
    options: [.real("p", 0.5, in: .belowOne, "Probability that an element is dropped.")], main: "p"
  ) { (layer) throws(TemperError) in
    let p = layer.real("p")
    return { x, pass in x.dropout(p, pass) }
  }

  /// In training each sample (or the whole batch) is 0 with probability p and x / (1 - p) otherwise. At the end of a
  /// residual's layers this leaves the block out.
  static let dropPath = Method.layer(
    "drop_path", aliases: ["stochastic_depth"],
    summary: "Zeroes whole samples at random in training: the end of a residual's layers leaves out the block.",
    reference: Reference(
      "Huang, Sun, Liu, Sedra, Weinberger", 2016, "Deep Networks with Stochastic Depth", arXiv: "1603.09382"),
    options: [
      .real("p", 0.1, in: .belowOne, "Probability that a sample's block is left out."),
      .choice("mode", ["row", "batch"], "One draw for each sample, or one for the batch."),
    ], main: "p"
  ) { (layer) throws(TemperError) in
    let (p, isByRow, rank) = (layer.real("p"), layer.text("mode") == "row", layer.input.rank)
    return { x, pass in
      guard pass.mode == .training, p > 0 else { return x }
      let draws = pass.uniform([isByRow ? x.shape[0] : 1]).reshaped(
        Shape([isByRow ? x.shape[0] : 1] + [Int](repeating: 1, count: rank)))
      return .select(draws .>= p, x * (1 / (1 - p)), .constant(0))
    }
  }

  /// Squares of side b around seeds of probability p / b^2 * H W / ((H - b + 1) (W - b + 1)) are zero, and the rest is
  /// multiplied by the number of all elements over the number of those kept.
  static let dropBlock = Method.layer(
    "drop_block", summary: "Zeroes square regions of the channels of an image at random in training.",
    reference: Reference(
      "Ghiasi, Lin, Le", 2018, "DropBlock: A regularization method for convolutional networks", arXiv: "1810.12890"),
    options: [
      .real("p", 0.1, in: .belowOne, "Share of elements that are dropped, overlaps aside."),
      .integer("block_size", 7, in: 1...4096, "Side of the squares; at most the image's."),
    ], main: "p"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(3...3, "images (channels, height, width)")
    let (channels, height, width) = (layer.input[0], layer.input[1], layer.input[2])
    let (p, side) = (layer.real("p"), min(layer.integer("block_size"), height, width))
    let (rows, columns) = (height - side + 1, width - side + 1)
    let rate = min(p * Double(height) * Double(width) / (Double(side * side) * Double(rows) * Double(columns)), 1)
    return { x, pass in
      guard pass.mode == .training, p > 0 else { return x }
      let batch = x.shape[0]
      var seeds = pass.uniform([batch, channels, rows, columns]) .< rate
      for axis in 2...3 { seeds = seeds.padded(before: side - 1, after: side - 1, axis: axis) }
      let kept = not(seeds.maxPooled(Window(size: [side, side], stride: [1, 1]))).stopGradient
      return x * kept * (Double(x.shape.count) / maximum(kept.sumAll(), 1))
    }
  }

  /// h' = h [i <= k] for features i = 1..D and one k a batch (or a sample) from P(k) proportional to
  /// exp(-((k - mu) / s)^2), (1 - p)^(k - 1) p, or uniform; no rescaling. At inference the first `keep` features.
  static let nestedDropout = Method.layer(
    "nested_dropout", area: "noisy-labels",
    summary: "Keeps a prefix of random length of the features in training, so that the first ones carry the most.",
    reference: Reference(title: "Compressing Features for Learning with Noisy Labels"),
    options: [
      .real("s", 100, in: .positive, "Width of the Gaussian: sqrt(2) standard deviations."),
      .real("mu", 0, "Its mean."), .choice("distribution", ["gaussian", "geometric", "uniform"], "Of the length."),
      .real("p", 0.01, in: Interval(0, 1, includesLower: false, includesUpper: false), "Of the geometric one."),
      .choice("per", ["batch", "sample"], "One length for the batch, or one for each sample."),
      .integer("keep", 0, in: 0...(1 << 24), "Features used at inference; 0 means all."),
    ], main: "s"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...7, "samples with at least one axis")
    let features = layer.input.last
    guard features <= 1 << 20 else {
      throw TemperError(.unsupported, "At most 2^20 features are ordered; \(features) came.")
    }
    let (s, mu, p) = (layer.real("s"), layer.real("mu"), layer.real("p"))
    let (distribution, isByBatch) = (layer.text("distribution"), layer.text("per") == "batch")
    let (keep, rank) = (layer.integer("keep"), layer.input.rank)
    return { x, pass in
      let place = Expression.iota([features])
      guard pass.mode == .training else {
        return keep == 0 || keep >= features ? x : .select(place .< Double(keep), x, .constant(0))
      }
      let length = place + 1
      let score: Expression =
        switch distribution {
        case "gaussian": -square((length - mu) / s)
        case "geometric": length * log1p(-p)
        default: .constant(0, [features])
        }
      // The length exceeds i where the running probability of 1..i has not passed the draw.
      let below = score.softmax().cumulativeSum()
      let draws = isByBatch ? 1 : x.shape[0]
      let draw = pass.uniform([draws]).reshaped(Shape([draws] + [Int](repeating: 1, count: rank)))
      let isKept = (below - score.softmax()) .<= draw
      return .select(isKept.stopGradient, x, .constant(0))
    }
  }
}

extension Expression {
  func dropout(_ p: Double, _ pass: Pass) -> Expression {
    guard pass.mode == .training, p > 0 else { return self }
    return .select(pass.uniform(shape) .>= p, self * (1 / (1 - p)), .constant(0))
  }
}
