import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Only the layers that suffer most from few bits or noise are trained on, with noise like their own on every layer.
///
/// Noise of layer l: D_l = its outputs with inputs, weights and outputs rounded and Gaussian noise added, less its clean
/// ones; its score is std(D_l) / std(clean). The layers of the largest scores that together have `score_mass` of all are
/// trained, at most `max_layer_share` of the layers and at least one; the others stay as they are, to the bit. In training
/// every layer's output gets a sample of N(mean D_l, std D_l), measured anew before each epoch.
final class SensitivityFinetune: RecordedProcedure {
  static let method = Method.procedure(
    "sensitivity_aware_finetune", aliases: ["saft"], area: "quant",
    summary: "Trains only the layers that rounding and noise disturb most, with noise like theirs on every layer.",
    reference: Reference(
      title: "Sensitivity-Aware Finetuning for Accuracy Recovery on Deep Learning Hardware", arXiv: "2306.03229"),
    parameters: [
      .real("score_mass", 0.5, in: .unit, "Share of all scores that the trained layers have together."),
      .real("max_layer_share", 0.5, in: .unit, "At most this share of the layers is trained."),
      .integer("bits", 4, in: 2...16, "Of inputs, weights and outputs; none rounds nothing.").orNone,
      .real(
        "noise", 0, in: .nonNegative, "Standard deviation of Gaussian noise, in parts of an output's largest size."),
      .choice(
        "mode", ["per_layer", "cumulative"], "Noise in one layer at a time, or in all at once, which is cheaper."),
      .integer("calib", 256, in: 1...(1 << 24), "Samples that scores are measured on."),
    ], replaces: [.objective], SensitivityFinetune.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  /// Layers at the top of the description that have something to train.
  private func layers(_ model: Model) -> [Int] {
    model.description.layers.indices.filter { layer in model.trained.contains { $0.name.hasPrefix("\(layer).") } }
  }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    guard layers(model).count > 0 else {
      throw TemperError(.unsupported, "It chooses among the layers of a model; this one has none to train.")
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    let (network, count) = (training.networks[0], layers(training.networks[0].model).count)
    // By layer: mean and standard deviation of the noise, score, whether it is trained.
    try training.keep("noise", [count, 4])
    try training.keep("held", network.parameters.shape)
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    let network = training.networks[0]
    let isFirst = training.position.steps == 0
    if isFirst { try training.kept("held").assign(from: network.parameters) }
    let table = try training.kept("noise")
    var rows = try table.array(of: Double.self)
    let measured = try measure(training)
    for (place, found) in measured.enumerated() {
      (rows[4 * place], rows[4 * place + 1], rows[4 * place + 2]) = (found.mean, found.deviation, found.score)
    }
    if isFirst { for place in chosen(measured.map(\.score)) { rows[4 * place + 3] = 1 } }
    try table.assign(from: try Tensor(rows, shape: table.shape))
  }

  /// The fewest layers with the mass of scores that is asked for.
  private func chosen(_ scores: [Double]) -> [Int] {
    let order = ascendingOrder(scores.map { -$0 })
    let most = max(Int(arguments.real("max_layer_share") * Double(scores.count)), 1)
    let wanted = arguments.real("score_mass") * scores.reduce(0, +)
    var (sum, found): (Double, [Int]) = (0, [])
    for layer in order where found.isEmpty || (sum < wanted && found.count < most) {
      found.append(layer)
      sum += scores[layer]
    }
    return found
  }

  /// Which of the trained parameters move.
  private func moves(_ training: Training) throws(TemperError) -> [Bool] {
    let model = training.networks[0].model
    let rows = try training.kept("noise").array(of: Double.self)
    let trained = layers(model).enumerated().filter { rows[4 * $0.offset + 3] != 0 }.map(\.element)
    return model.trained.map { variable in trained.contains { variable.name.hasPrefix("\($0).") } }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let training = step.training
    let noise = try step.whole("noise")
    var changes: [String: (Expression) -> Expression] = [:]
    for (place, layer) in layers(training.networks[0].model).enumerated() {
      let row = noise.slice(place..<(place + 1))
      let (mean, deviation) = (row.slice(0..<1, axis: 1).reshaped([]), row.slice(1..<2, axis: 1).reshaped([]))
      changes["\(layer)"] = { y in y + mean + deviation * step.normal(y.shape) }
    }
    let parameters = zip(step.parameters(), try moves(training)).map { $1 ? $0 : $0.stopGradient }
    return try step.loss(of: try step.forward(parameters: parameters, changes: changes)).reduced(.mean)
  }

  /// Whatever the optimizer moved of the others, by decay or by averages, goes back.
  func stepDidEnd(_ training: Training) throws(TemperError) {
    let (network, held, moves) = (training.networks[0], try training.kept("held"), try moves(training))
    for index in network.model.trained.indices where !moves[index] {
      try network.part(index, of: network.parameters).assign(from: try network.part(index, of: held))
    }
  }
}

extension SensitivityFinetune {
  private struct Noise {
    let mean: Double
    let deviation: Double
    let score: Double
  }

  /// s round(x / s), s = max |x| / (2^(b-1) - 1).
  private func rounded(_ x: Expression) -> Expression {
    guard let bits = arguments.optionalInteger("bits"), x.kind == .real else { return x }
    let highest = Double(1 << (bits - 1)) - 1
    let flat = x.reshaped([1, x.shape.count])
    let step = maximum(abs(flat).maximum() * (1 / highest), 1e-30)
    return (step * round(flat / step)).reshaped(x.shape)
  }

  private func disturbed(_ y: Expression, _ stream: Int) -> Expression {
    let y = rounded(y)
    let noise = arguments.real("noise")
    guard noise > 0 else { return y }
    let draws = Expression.uniform(y.shape, clock: .input("draws", [4], .index), stream: UInt32(stream))
    let normal = 2.0.squareRoot() * erfInverse(clamp(2 * draws - 1, -1 + 1e-7, 1 - 1e-7))
    return y + noise * abs(y.reshaped([1, y.shape.count])).maximum().reshaped([]) * normal
  }

  /// Of each layer, on the first samples.
  private func measure(_ training: Training) throws(TemperError) -> [Noise] {
    let model = training.networks[0].model
    let count = min(arguments.integer("calib"), training.sampleCount)
    let x = try training.inputs(0..<count)
    let input = Expression.input("x", x.shape, model.input.kind)
    let mask: Expression? = model.needsMask ? .input("mask", [count, model.input.shape[0]]) : nil
    func outputs(_ noisy: [Int]) -> [String: Expression] {
      var values: [String: Expression] = [:]
      for variable in model.trained
      where variable.use != .elements && noisy.contains(where: { variable.name.hasPrefix("\($0).") }) {
        values[variable.name] = rounded(.input(variable.name, variable.shape))
      }
      let pass = model.pass(.inference, values: values, mask: mask)
      for layer in noisy {
        if layer > 0, !noisy.contains(layer - 1) { pass.changes["\(layer - 1)"] = { self.rounded($0) } }
        pass.changes["\(layer)"] = { self.disturbed($0, layer) }
      }
      _ = model.forward(noisy.contains(0) ? rounded(input) : input, pass)
      return pass.outputs
    }
    let layers = layers(model)
    let clean = outputs([])
    let together = arguments.text("mode") == "cumulative" ? outputs(layers) : nil
    var wanted: [Output] = []
    for layer in layers {
      guard let y = clean["\(layer)"], let own = (together ?? outputs([layer]))["\(layer)"] else {
        throw TemperError(.unsupported, "Layer \(layer) leaves no output to measure.")
      }
      let missed = own - y
      let (mean, middle) = (missed.meanAll().reshaped([]), y.meanAll().reshaped([]))
      wanted += [
        Output(mean), Output(sqrt(square(missed - mean).meanAll().reshaped([]))),
        Output(sqrt(square(y - middle).meanAll().reshaped([]))),
      ]
    }
    let execution = try Execution(try Plan(wanted, type: model.dtype), workers: training.workers)
    try model.bind(to: execution)
    for needed in execution.plan.inputs {
      switch needed.name {
      case "x": try execution.bind("x", to: x)
      case "mask":
        guard let mask = training.samples.rows["mask"] else { continue }
        try execution.bind("mask", to: try mask.tensor.slice(0..<count).copy(as: model.dtype))
      case "draws":
        let words = try Tensor(zeros: [4], .int32)
        words.setWords(training.random("sensitivity").key, UInt64(training.position.epoch))
        try execution.bind("draws", to: words)
      default: break
      }
    }
    try execution.run()
    return layers.indices.map { place in
      let (mean, deviation) = (execution.output(3 * place).scalar, execution.output(3 * place + 1).scalar)
      return Noise(
        mean: mean, deviation: deviation, score: deviation / max(execution.output(3 * place + 2).scalar, 1e-12))
    }
  }
}
