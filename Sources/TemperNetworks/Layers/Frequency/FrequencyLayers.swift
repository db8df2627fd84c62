import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// F = rfft(x) over the steps, F~ = W F with trained complex W for each frequency and channel, x~ = irfft(F~): a
  /// circular convolution over the steps. Then norm(x + dropout(x~)), and with a feed-forward part
  /// norm(h + dropout(W_2 gelu(W_1 h))).
  static let fftFilterLayer = Method.layer(
    "fft_filter_layer", area: "sequence",
    summary: "Mixes the steps of a sequence by a trained filter in the frequency domain.",
    reference: Reference(
      "Zhou, Yu, Zhao, Wen", 2022, "Filter-enhanced MLP is All You Need for Sequential Recommendation",
      arXiv: "2202.13556"),
    options: [
      .choice("filter", ["learned", "low_pass", "high_pass", "band_stop"], "Trained, or fixed to 0 and 1."),
      .integer("low", 0, in: 0...RealDFT.maximumLength, "First frequency that passes a high pass, or is stopped."),
      .integer("high", 0, in: 0...RealDFT.maximumLength, "Last frequency that passes a low pass, or is stopped."),
      .real("dropout", 0.5, in: .belowOne, "Probability that an element of a part's result is dropped."),
      .boolean("residual", true, "Add the input and normalize; false gives the filtered sequence itself."),
      .integer("ffn", 4, in: 0...1024, "Width of the feed-forward part over that of the sequence; 0: without it."),
      .real("init_std", 0.02, in: .nonNegative, "Standard deviation of the filter at the start."),
    ]
  ) { (layer) throws(TemperError) in
    try layer.requireRank(2...2, "sequences (steps, width)")
    let (steps, width) = (layer.input[0], layer.input[1])
    let dft = try RealDFT(steps)
    let (low, high, kind) = (layer.integer("low"), layer.integer("high"), layer.text("filter"))
    let (p, hasResidual, wide) = (layer.real("dropout"), layer.boolean("residual"), width * layer.integer("ffn"))
    try layer.requireSize([steps, max(wide, width)])
    let filter =
      kind == "learned"
      ? try layer.parameter("filter", [2, width, dft.bins], .normal(mean: 0, std: layer.real("init_std"))) : nil
    let norm = hasResidual ? try AffineNorm(layer, "norm", width) : nil
    let feedForward =
      hasResidual && wide > 0
      ? (
        try LinearMap(layer, "ffn1", width, wide), try LinearMap(layer, "ffn2", wide, width),
        try AffineNorm(layer, "ffn_norm", width)
      ) : nil
    return { x, pass in
      let channels = x.permuted([0, 2, 1])
      let mixed: Expression
      if let filter {
        func part(_ index: Int) -> Expression { pass[filter].slice(index..<(index + 1)).reshaped([width, dft.bins]) }
        let (real, imaginary) = dft.transform(channels)
        let (a, b) = (part(0), part(1))
        mixed = dft.inverse(real * a - imaginary * b, real * b + imaginary * a)
      } else {
        let k = Expression.iota([dft.bins])
        let factors: Expression =
          switch kind {
          case "low_pass": k .<= Double(high)
          case "high_pass": k .>= Double(low)
          default: not((k .>= Double(low)) .& (k .<= Double(high)))
          }
        mixed = dft.filtered(channels, factors)
      }
      let result = mixed.permuted([0, 2, 1])
      guard let norm else { return result }
      let h = norm(x + result.dropout(p, pass), pass)
      guard let (first, second, last) = feedForward else { return h }
      let inner = first(h, pass)
      return last(h + second(inner * normalCDF(inner), pass).dropout(p, pass), pass)
    }
  }

  /// g low + (1 - g) (x - low), low = x with frequency k of its flattened positions times exp(-(k / D)^2 / 2), and
  /// g = gate_min + (1 - gate_min) sigmoid(mean of P(x)) by channel. D goes from D0_start to D0_end (shares of the number
  /// of positions) while training.
  static let frequencyPreferenceControl = Method.layer(
    "frequency_preference_control", area: "adversarial",
    summary: "Weighs low frequencies of an image's channels at least as much as high ones, by a trained gate.",
    reference: Reference(
      "Bu, Huang, Cui", 2023, "Towards Building More Robust Models with Frequency Bias", arXiv: "2307.09763"),
    options: [
      .real("gate_min", 0.5, in: .unit, "The least share of the low frequencies."),
      .real("D0_start", 0.5, in: .positive, "Cut-off at the start, as a share of the positions."),
      .real("D0_end", 0.125, in: .positive, "Cut-off at the end of training and at inference."),
      .integer("anneal_steps", 0, in: 0...(1 << 24), "Steps of training from start to end; 0: at the end at once."),
      .choice("mask", ["1d_flattened", "2d"], "Frequencies of the flattened positions, or of rows and columns."),
      .choice("gate", ["depthwise", "full"], "P sees its own channel, or all."),
    ]
  ) { (layer) throws(TemperError) in
    try layer.requireRank(3...3, "images (channels, height, width)")
    let (channels, height, width) = (layer.input[0], layer.input[1], layer.input[2])
    let isFlat = layer.text("mask") == "1d_flattened"
    let (rows, columns) = (try RealDFT(isFlat ? 1 : height), try RealDFT(isFlat ? height * width : width))
    let (from, to, steps) = (layer.real("D0_start"), layer.real("D0_end"), layer.integer("anneal_steps"))
    // With two axes the cut-off is a share of the longer one.
    let size = Double(isFlat ? height * width : max(height, width))
    let least = layer.real("gate_min")
    let isDepthwise = layer.text("gate") == "depthwise"
    let full = isDepthwise ? nil : try LinearMap(layer, "gate", channels, channels)
    let scale = isDepthwise ? try layer.parameter("gate.weight", [channels], .fanInUniform, fanIn: 1) : ""
    let shift = isDepthwise ? try layer.parameter("gate.bias", [channels], .fanInUniform, fanIn: 1) : ""
    return { x, pass in
      let batch = x.shape[0]
      let cutOff = size * (from + (to - from) * pass.progress(over: steps))
      func gaussian(_ dft: RealDFT) -> Expression {
        exp(-0.5 * square(Expression.iota([dft.bins]) / cutOff)).stopGradient
      }
      var low: Expression
      if isFlat {
        low = columns.filtered(x.reshaped([batch, channels, height * width]), gaussian(columns)).reshaped(x.shape)
      } else {
        low = columns.filtered(x, gaussian(columns))
        low = rows.filtered(low.permuted([0, 1, 3, 2]), gaussian(rows)).permuted([0, 1, 3, 2])
      }
      let means = x.mean(axes: [2, 3]).reshaped([batch, channels])
      let score = full.map { $0(means, pass) } ?? means * pass[scale] + pass[shift]
      let gate = (least + (1 - least) * sigmoid(score)).reshaped([batch, channels, 1, 1])
      return gate * low + (1 - gate) * (x - low)
    }
  }

  /// log(q_j + log_eps), q_j the density 1/2 + Re sum_k (c_k / c_0) exp(i k pi z) at the centres z_j = -1 + (2 j + 1) / m
  /// of m bins, over its sum; c_k = sum_l conj(a_l) a_(l + k) of N + 1 complex numbers a = W x + b, so that the density is
  /// that of |sum a_l exp(i pi l z)|^2 and never below 0. Training adds gamma times the mean of
  /// 2 sum_k 2 pi^2 k^2 |c_k|^2.
  static let fourierHead = Method.layer(
    "fourier_head", area: "regularize",
    summary: "Gives the logits of bins of [-1, 1] from a learned Fourier density: neighbours are alike.",
    reference: Reference(
      "Gillman et al.", 2025,
      "Fourier Head: Helping Large Language Models Learn Complex Probability Distributions", arXiv: "2410.22269"),
    options: [
      .integer("bins", 1, in: 1...(1 << 20), "Classes that come out.").requiredOption(also: "size"),
      .integer("num_frequencies", 12, in: 0...1024, "Frequencies N; few make smooth densities."),
      .real("gamma", 1e-6, in: .nonNegative, "Weight of the penalty on high frequencies."),
      .real("log_eps", 1e-5, in: .positive, "Added to the probabilities."),
      .real("init_divisor", 100, in: .positive, "The map starts as a dense layer's divided by this."),
    ], main: "bins"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...7, "samples with at least one axis")
    let (bins, count, inputs) = (layer.integer("bins"), layer.integer("num_frequencies"), layer.input.last)
    let (gamma, epsilon) = (layer.real("gamma"), layer.real("log_eps"))
    try layer.requireSize(layer.input.sizes.dropLast() + [max(bins, 2 * count + 2)])
    let bound = 1 / (Double(inputs).squareRoot() * layer.real("init_divisor"))
    let start = Initializer.uniform(low: -bound, high: bound)
    let map = try LinearMap(layer, "linear", inputs, 2 * (count + 1), start, biasInitializer: start)
    return { x, pass in
      let numbers = map(x, pass)
      func piece(_ x: Expression, _ range: Range<Int>) -> Expression { x.slice(range, axis: -1) }
      let (a, b) = (piece(numbers, 0..<(count + 1)), piece(numbers, (count + 1)..<(2 * count + 2)))
      let energy = (square(a) + square(b)).sum()
      let isNothing = energy .== 0
      let safe = Expression.select(isNothing, .constant(1), energy)
      let centre = (2 * Expression.iota([bins]) + 1) / Double(bins) - 1
      var density: Expression = .constant(0.5, Shape(energy.shape.sizes.dropLast() + [bins]))
      var penalty: Expression = .constant(0, energy.shape)
      if count > 0 {
        var (reals, imaginaries): ([Expression], [Expression]) = ([], [])
        for k in 1...count {
          let (lowA, highA) = (piece(a, 0..<(count + 1 - k)), piece(a, k..<(count + 1)))
          let (lowB, highB) = (piece(b, 0..<(count + 1 - k)), piece(b, k..<(count + 1)))
          reals.append((lowA * highA + lowB * highB).sum())
          imaginaries.append((lowA * highB - lowB * highA).sum())
        }
        let (real, imaginary) = (Expression.concatenate(reals, axis: -1), Expression.concatenate(imaginaries, axis: -1))
        let order = Expression.iota([count]) + 1
        let angles = order.reshaped([count, 1]) * (Double.pi * centre)
        density =
          density + .matmul(rows(real / safe), cos(angles)).reshaped(density.shape)
          - .matmul(rows(imaginary / safe), sin(angles)).reshaped(density.shape)
        penalty = (square(order) * (square(real) + square(imaginary))).sum() * (4 * Double.pi * Double.pi)
      }
      if gamma > 0 { pass.penalize(gamma * penalty.meanAll()) }
      return log(density / density.sum() + epsilon)
    }
  }

  private static func rows(_ x: Expression) -> Expression { x.reshaped([x.shape.count / x.shape.last, x.shape.last]) }
}
