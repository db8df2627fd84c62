import TemperCatalogue
import TemperCore
import TemperGraph

extension Expression {
  /// `value` in the forward pass, this expression's gradient in the backward one.
  fileprivate func straightThrough(_ value: Expression) -> Expression { self + (value - self).stopGradient }

  /// To the next whole number; or, with uniforms u, to one of the two next to it such that the mean is right.
  fileprivate func wholeNumbers(_ u: Expression?) -> Expression {
    u.map { floor(self + $0) } ?? round(self)
  }
}

/// Layers that train with weights as few bits will hold them. Rounding has the gradient of what is rounded.
extension Layers {
  static let quantizationAware = [fakeQuantized, learnedStepSize, dorefa, binaryConnect, pact]

  private static let bits = LayerOption.integer("bits", 4, in: 2...16, "Bits of a weight.")

  /// s round(w / s), s = max |w| / (2^(b-1) - 1) over each output's weights, or over all.
  static let fakeQuantized = Method.layer(
    "fake_quantized", aliases: ["quantization_aware"],
    summary: "Trains the layers that it holds with rounded weights; gradients pass straight through the rounding.",
    reference: Reference(
      "Bengio, Léonard, Courville", 2013,
      "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation", arXiv: "1308.3432"),
    options: [
      LayerBuilder.heldLayers, bits, .choice("granularity", ["channel", "tensor"], "What shares a scale."),
      .choice(
        "rounding", ["nearest", "stochastic"], "Stochastic rounding is for training; inference rounds to nearest."),
    ], main: "layers"
  ) { (layer) throws(TemperError) in
    let highest = Double(1 << (layer.integer("bits") - 1)) - 1
    let (isWhole, isStochastic) = (layer.text("granularity") == "tensor", layer.text("rounding") == "stochastic")
    return try layer.reparametrized { (weight) throws(TemperError) in
      let rows = isWhole ? 1 : weight.rows
      let columns = weight.shape.count / rows
      return { w, pass in
        let flat = w.reshaped([rows, columns])
        let step = maximum(abs(flat).maximum() * (1 / highest), 1e-30).stopGradient
        let draws = isStochastic && pass.mode == .training ? pass.uniform([rows, columns]) : nil
        let rounded = step * clamp((flat / step).wholeNumbers(draws), -highest, highest)
        return flat.straightThrough(rounded).reshaped(w.shape)
      }
    }
  }

  /// s round(clip(w / s, -2^(b-1), 2^(b-1) - 1)) with a trained s, from 2 mean |w| / sqrt(2^(b-1) - 1) on; its gradient is
  /// scaled by 1 / sqrt(n (2^(b-1) - 1)).
  static let learnedStepSize = Method.layer(
    "lsq", summary: "Trains the layers that it holds with rounded weights whose step sizes are trained too.",
    reference: Reference(
      "Esser et al.", 2019, "Learned Step Size Quantization", arXiv: "1902.08153"),
    options: [LayerBuilder.heldLayers, bits], main: "layers"
  ) { (layer) throws(TemperError) in
    let half = Double(1 << (layer.integer("bits") - 1))
    return try layer.reparametrized { (weight) throws(TemperError) in
      let count = weight.shape.count
      let name = try weight.parameter("step", [1, 1], .ones)
      weight.start(name) { values in
        let mean = values.reduce(0) { $0 + abs($1) } / Double(max(values.count, 1))
        return [max(2 * mean / (half - 1).squareRoot(), 1e-8)]
      }
      let slope = 1 / (Double(max(count, 1)) * (half - 1)).squareRoot()
      return { w, pass in
        let scaled = pass[name] * slope
        let step = maximum(scaled.straightThrough(pass[name]), 1e-12)
        let place = clamp(w.reshaped([1, count]) / step, -half, half - 1)
        return (place.straightThrough(round(place)) * step).reshaped(w.shape)
      }
    }
  }

  /// 2 round((2^b - 1) z) / (2^b - 1) - 1, z = tanh(w) / (2 max |tanh(w)|) + 1/2; one bit: sign(w) mean |w|.
  static let dorefa = Method.layer(
    "dorefa", summary: "Trains the layers that it holds with weights squashed by tanh and rounded.",
    reference: Reference(
      "Zhou et al.", 2016,
      "DoReFa-Net: Training Low Bitwidth Convolutional Neural Networks with Low Bitwidth Gradients",
      arXiv: "1606.06160"),
    options: [LayerBuilder.heldLayers, .integer("bits", 4, in: 1...16, "Bits of a weight.")], main: "layers"
  ) { (layer) throws(TemperError) in
    let bits = layer.integer("bits")
    let highest = Double(1 << bits) - 1
    return try layer.reparametrized { (weight) throws(TemperError) in
      let count = weight.shape.count
      return { w, _ in
        let flat = w.reshaped([1, count])
        if bits == 1 {
          let signs = Expression.select(flat .>= 0, .constant(1), .constant(-1))
          return flat.straightThrough(signs * abs(flat).mean().stopGradient).reshaped(w.shape)
        }
        let squashed = tanh(flat)
        let share = squashed / (2 * maximum(abs(squashed).maximum(), 1e-30).stopGradient) + 0.5
        return (2 * share.straightThrough(round(share * highest) * (1 / highest)) - 1).reshaped(w.shape)
      }
    }
  }

  /// sign(w); stochastic in training: 1 with probability clip((w + 1) / 2, 0, 1). Weights stay in [-1, 1].
  static let binaryConnect = Method.layer(
    "binary_connect", summary: "Trains the layers that it holds with the signs of their weights.",
    reference: Reference(
      "Courbariaux, Bengio, David", 2015,
      "BinaryConnect: Training Deep Neural Networks with Binary Weights during Propagations", arXiv: "1511.00363"),
    options: [
      LayerBuilder.heldLayers, .choice("rounding", ["nearest", "stochastic"], "Stochastic signs are for training."),
      .boolean("scaled", true, "Signs times each output's mean |w|."),
    ], main: "layers"
  ) { (layer) throws(TemperError) in
    let (isStochastic, isScaled) = (layer.text("rounding") == "stochastic", layer.boolean("scaled"))
    return try layer.reparametrized { (weight) throws(TemperError) in
      let (rows, columns, name) = (weight.rows, weight.columns, weight.name)
      layer.constrain { (model) throws(TemperError) in
        try model.assign(name, try model.values(name).map { min(max($0, -1), 1) })
      }
      return { w, pass in
        let flat = w.reshaped([rows, columns])
        let threshold =
          isStochastic && pass.mode == .training ? 2 * pass.uniform([rows, columns]) - 1 : Expression.constant(0)
        let signs = Expression.select(flat .>= threshold, .constant(1), .constant(-1))
        let scale = isScaled ? abs(flat).mean().stopGradient : .constant(1)
        return flat.straightThrough(signs * scale).reshaped(w.shape)
      }
    }
  }

  /// round(clip(x, 0, a) (2^b - 1) / a) a / (2^b - 1) with a trained bound a.
  static let pact = Method.layer(
    "pact", summary: "A rectifier with a trained upper bound, its outputs rounded to few bits.",
    reference: Reference(
      "Choi et al.", 2018, "PACT: Parameterized Clipping Activation for Quantized Neural Networks",
      arXiv: "1805.06085"),
    options: [
      .integer("bits", 4, in: 1...16, "Bits of an output."),
      .real("alpha", 10, in: .positive, "The bound at first."),
    ], main: "bits"
  ) { (layer) throws(TemperError) in
    let (highest, start) = (Double(1 << layer.integer("bits")) - 1, layer.real("alpha"))
    let alpha = try layer.parameter("alpha", [1], .ones)
    layer.start(alpha) { _ in [start] }
    return { x, pass in
      let bound = maximum(pass[alpha], 1e-6).reshaped(Shape([Int](repeating: 1, count: x.shape.rank)))
      let clipped = minimum(maximum(x, 0), bound)
      let step = (bound * (1 / highest)).stopGradient
      return clipped.straightThrough(round(clipped / step) * step)
    }
  }
}
