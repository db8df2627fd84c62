import TemperCatalogue
import TemperCore
import TemperGraph

/// Layers that mix each sample with the next one of the batch (batches come in random order). The loss mixes the targets
/// alike: share * loss(own) + (1 - share) * loss(next).
extension Layers {
  private static let alpha = LayerOption.real(
    "alpha", 1, in: .positive, "The shares are Beta(alpha, alpha).")
  private static let probability = LayerOption.real("p", 1, in: .unit, "Probability that a batch is mixed.")
  private static let per = LayerOption.choice("per", ["batch", "sample"], "One share for the batch, or one a sample.")

  /// l x_i + (1 - l) x_(i+1), l ~ Beta(alpha, alpha).
  static let mixup = Method.layer(
    "mixup", summary: "Mixes each sample with another one in training, and the loss of their targets alike.",
    reference: Reference(
      "Zhang, Cisse, Dauphin, Lopez-Paz", 2018, "mixup: Beyond Empirical Risk Minimization", arXiv: "1710.09412"),
    options: [alpha, probability, per], main: "alpha"
  ) { (layer) throws(TemperError) in
    let settings = MixingSettings(layer)
    return { x, pass in
      guard pass.mode == .training, x.shape[0] > 1 else { return x }
      let share = settings.share(x.shape[0], pass)
      if let error = pass.mix(share: share) { return .invalid(error) }
      return x.mixed(share)
    }
  }

  /// A rectangle of sides sqrt(1 - l) times the image's, its centre uniform, comes from the next image; the share of a
  /// target is that of the pixels.
  static let cutmix = Method.layer(
    "cutmix", summary: "Pastes a rectangle of another image in training, and mixes the loss of their targets by area.",
    reference: Reference(
      "Yun, Han, Oh, Chun, Choe, Yoo", 2019,
      "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", arXiv: "1905.04899"),
    options: [alpha, probability, per], main: "alpha"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(3...3, "images (channels, height, width)")
    let settings = MixingSettings(layer)
    let sizes = [layer.input[1], layer.input[2]]
    return { x, pass in
      guard pass.mode == .training, x.shape[0] > 1 else { return x }
      let batch = x.shape[0]
      let side = sqrt(1 - settings.share(batch, pass))
      var isInside: Expression = .constant(1)
      var area: Expression = .constant(1)
      for (axis, size) in sizes.enumerated() {
        let length = floor(Double(size) * side)
        let centre = floor(Double(size) * pass.uniform([settings.draws(batch), 1]))
        let low = maximum(centre - floor(length / 2), 0)
        let high = minimum(centre - floor(length / 2) + length, Double(size))
        area = area * (maximum(high - low, 0) / Double(size))
        var shape = [1, 1, 1, 1]
        shape[2 + axis] = size
        let place = Expression.iota(Shape(shape), axis: 2 + axis)
        func seen(_ bound: Expression) -> Expression { bound.reshaped([bound.shape.count, 1, 1, 1]) }
        isInside = isInside .& ((place .>= seen(low)) .& (place .< seen(high)))
      }
      if let error = pass.mix(share: (1 - area).broadcast(to: [batch, 1]).stopGradient) { return .invalid(error) }
      return .select(isInside.stopGradient, x.next, x)
    }
  }

  /// mixup before one of the layers, drawn for each batch: at 0 the input, at i the output of layer i - 1.
  static let manifoldMixup = Method.layer(
    "manifold_mixup", summary: "Mixes the samples before one of the layers that it holds, drawn anew for each batch.",
    reference: Reference(
      "Verma et al.", 2019, "Manifold Mixup: Better Representations by Interpolating Hidden States",
      arXiv: "1806.05236"),
    options: [
      LayerOption(.text("layers", "", "The layers, one after the other.").required, .layers),
      .real("alpha", 2, in: .positive, "The shares are Beta(alpha, alpha)."), probability, per,
      LayerOption(.text("at", "", "Where it may mix: 0 before the first layer, and so on; all by default."), .sizes),
    ], main: "layers"
  ) { (layer) throws(TemperError) in
    let settings = MixingSettings(layer)
    let described = try layer.options.layers("layers") ?? []
    let given = try layer.options.sizes("at")
    let places = given.isEmpty ? Array(described.indices) : Array(Set(given)).sorted()
    guard !described.isEmpty, places.allSatisfy(described.indices.contains) else {
      throw TemperError(
        .outOfRange,
        "It mixes before layers 0 to \(described.count - 1), of which there is at least one; \(given) came.")
    }
    var built: [BuiltLayer] = []
    for (index, json) in described.enumerated() {
      built.append(
        try layer.layer(json, named: String(index), input: built.last?.output))
      guard built[index].output.kind == .real || !places.contains(where: { $0 > index }) else {
        throw TemperError(.invalidType, "Indices cannot be mixed; mix after the embedding.")
      }
    }
    let parts = built
    return { x, pass in
      guard pass.mode == .training, x.shape[0] > 1 else { return parts.reduce(x) { $1.forward($0, pass) } }
      if x.kind == .index, places.contains(0) {
        return .invalid(.invalidType, "Indices cannot be mixed; begin at 1, after the embedding.")
      }
      let share = settings.share(x.shape[0], pass)
      if let error = pass.mix(share: share) { return .invalid(error) }
      let chosen = floor(pass.uniform([1]) * Double(places.count))
      var y = x
      for (index, part) in parts.enumerated() {
        if let place = places.firstIndex(of: index) {
          let isHere = (chosen .== Double(place)).reshaped(Shape([Int](repeating: 1, count: y.shape.rank)))
          y = .select(isHere, y.mixed(share), y)
        }
        y = part.forward(y, pass)
      }
      return y
    }
  }
}

/// How shares are drawn.
private struct MixingSettings: Sendable {
  let alpha: Double, p: Double
  let isByBatch: Bool

  init(_ layer: LayerBuilder) {
    (alpha, p, isByBatch) = (layer.real("alpha"), layer.real("p"), layer.text("per") == "batch")
  }

  func draws(_ batch: Int) -> Int { isByBatch ? 1 : batch }

  /// (N, 1)
  func share(_ batch: Int, _ pass: Pass) -> Expression {
    var share = pass.symmetricBeta(alpha, [draws(batch), 1])
    if p < 1 { share = .select(pass.uniform([1, 1]) .< p, share, .constant(1)) }
    return share.broadcast(to: [batch, 1]).stopGradient
  }
}

extension Expression {
  /// Each row's successor; the last one's is the first.
  fileprivate var next: Expression {
    .concatenate([slice(1..<shape[0]), slice(0..<1)])
  }

  fileprivate func mixed(_ share: Expression) -> Expression {
    let l = share.reshaped(Shape([shape[0]] + [Int](repeating: 1, count: shape.rank - 1)))
    return l * self + (1 - l) * next
  }
}
