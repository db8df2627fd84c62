import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Co-teaching of two networks whose features are ordered: in each step only a first part of them, of random length,
/// reaches the classifier. Chen et al., 2022, arXiv 2104.13766.
///
///     P(length k) ~ exp(-(k / s)^2);  first each network alone; then each learns, from the half of the batch in which the
///     other chose, the floor((1 - tau) n) samples with the smallest losses by the other's best prefix
///
/// The networks answer together: the mean of their logits. With validation samples the best prefix (by accuracy - 1e-5 k)
/// is found after each epoch, and co-teaching starts from the best epoch of each network; without, a prefix is all features.
/// In the second stage layers with running statistics stay as they are.
final class NestedCoTeaching: RecordedProcedure {
  static let method = Method.procedure(
    "nested_co_teaching", area: "noisy-labels",
    summary: "Co-teaching of two networks that learn to do with the first few features.",
    reference: Reference(
      "Chen et al.", 2022, "Boosting Co-teaching with Compression Regularization for Label Noise",
      arXiv: "2104.13766"),
    parameters: [
      .real("s", 100, in: .positive, "How long prefixes are: 10 for 512 features and 10 classes."),
      .real("forget_rate", 0.2, in: .belowOne, "The share of samples that are left out in the end: the noise rate.")
        .named(also: "tau"),
      .integer("T_k", 5, in: 1 ... .max, "Epochs over which that share grows, where it does.").named(also: "ramp"),
      .integer("stage1_epochs", 100, in: 0 ... .max, "Epochs in which each network learns alone; 0: from scratch."),
      .boolean("gradual_in_finetune", false, "Whether the share grows after a first stage; from scratch it does."),
      .boolean("freeze_bn", true, "Whether layers with running statistics stay as they are in the second stage."),
      .boolean("split_batch", true, "Each network chooses in a half of its own; or both in the whole batch."),
    ],
    inputs: [
      Input("validation_x", [.init(["M", "..."])], isOptional: true, "Samples by which the prefix is chosen."),
      Input("validation_y", [.init(["M"], .index(below: "C"))], isOptional: true, "Their class ids."),
    ], replaces: [.objective], NestedCoTeaching.self)

  let arguments: Arguments
  let networkCount = 2
  init(_ arguments: Arguments) { self.arguments = arguments }

  private var first: Int { arguments.integer("stage1_epochs") }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    try requireTargetsAlone(loss)
    _ = try ClassifierHead(model)
  }

  func prepare(_ training: Training) throws(TemperError) {
    try training.keep("prefix", initial: Double(ClassifierHead(training.networks[0].model).width))
    guard isValidated(training), first > 0 else { return }
    for network in 0..<2 {
      try training.keep("best.\(network)", initial: -1)
      for (name, tensor) in weights(training.networks[network]) {
        try training.keep("best.\(network).\(name)", tensor.shape)
      }
    }
  }

  private func isValidated(_ training: Training) -> Bool {
    training.samples.whole["validation_x"] != nil && training.samples.whole["validation_y"] != nil
  }

  private func weights(_ network: Network) -> [(name: String, tensor: Tensor)] {
    [("parameters", network.parameters)] + network.model.kept.compactMap { kept in kept.tensor.map { (kept.name, $0) } }
  }

  func phase(_ position: Position) -> Int { position.epoch > first ? 1 : 0 }

  /// tau, or where it grows tau min((e - 1) / (T_k - 1), 1) in the e-th epoch of this stage.
  private func kept(_ position: Position) -> Double {
    let (tau, ramp) = (arguments.real("forget_rate"), arguments.integer("T_k"))
    guard first == 0 || arguments.boolean("gradual_in_finetune"), ramp > 1 else { return 1 - tau }
    return 1 - tau * min(Double(position.epoch - first - 1) / Double(ramp - 1), 1)
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let head = try ClassifierHead(step.training.networks[0].model)
    let places = Expression.iota([1, head.width])
    func cut(_ name: String) -> Expression {
      // Relative to that of length 1, which a small s would take to 0 too.
      let s = arguments.real("s")
      let lengths = (1...head.width).map { power(2.718281828459045, (1 - Double($0 * $0)) / (s * s)) }
      return places
        .< step.number(name) { [training = step.training] position in
          var random = training.random(name).stream(position.steps)
          return Double(random.index(inProportionTo: lengths) + 1)
        }
    }
    func logits(
      _ network: Int, _ x: Expression, _ mask: Expression, _ parameters: [Expression], _ mode: Pass.Mode
    ) throws(TemperError) -> Expression {
      let isOwn = step.phase == 0
      let outputs = try step.forward(network, x, parameters: isOwn ? nil : parameters, mode: mode)
      return head.logits(try step.flatFeatures(of: outputs) * mask, parameters)
    }
    let (x, y) = (try step.rows("x"), try step.rows("targets"))
    var sum = Expression.constant(0)
    if step.phase == 0 {
      for network in 0..<2 {
        let outputs = try logits(network, x, cut("cut \(network)"), step.parameters(network), .training)
        sum = sum + (try step.loss(of: outputs, network: network).reduced(.mean))
      }
      return sum
    }
    let best = places .< (try step.whole("prefix"))
    let share = step.number("kept share") { [self] in kept($0) }
    let cut = cut("cut")
    let isSplit = arguments.boolean("split_batch") && step.count > 1
    for network in 0..<2 {
      // Where the other one chooses.
      let part =
        !isSplit ? 0..<step.count : network == 0 ? step.count / 2..<step.count : 0..<step.count / 2
      let (x, y) = (x.slice(part), y.slice(part))
      let seen = try logits(1 - network, x, best, step.parameters(1 - network), .inference).stopGradient
      let other = try step.loss(of: seen, inputs: ["targets": y])
      let chosen = step.smallest(other.values, share: share, counted: other.counted)
      let isFrozen = arguments.boolean("freeze_bn")
      let parameters = isFrozen ? frozen(step, network) : step.parameters(network)
      let outputs = try logits(network, x, cut, parameters, isFrozen ? .inference : .training)
      sum = sum + (try step.loss(of: outputs, inputs: ["targets": y]).values.mean(over: chosen))
    }
    return sum
  }

  /// Parameters of layers that keep running statistics are held.
  private func frozen(_ step: StepGraph, _ network: Int) -> [Expression] {
    func layer(_ name: String) -> Substring { name[..<(name.lastIndex(of: ".") ?? name.startIndex)] }
    let model = step.training.networks[network].model
    let keeping = Set(model.buffers.map { layer($0.name) })
    return zip(model.trained, step.parameters(network)).map { keeping.contains(layer($0.name)) ? $1.stopGradient : $1 }
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    if isValidated(training) {
      let each = [try scores(training, 0), try scores(training, 1)]
      let classes = training.networks[0].model.output.last
      let both = zip(each[0], each[1]).map { zip($0, $1).map(+) }
      let prefix = try best(training, both, classes)
      try training.kept("prefix").fill(Double(prefix.length))
      for network in 0..<2 where training.position.epoch <= first {
        let own = try best(training, each[network], classes)
        guard own.score > (try training.kept("best.\(network)").array(of: Double.self)[0]) else { continue }
        try training.kept("best.\(network)").fill(own.score)
        for (name, tensor) in weights(training.networks[network]) {
          try training.kept("best.\(network).\(name)").assign(from: tensor)
        }
      }
    }
    guard training.position.epoch == first else { return }
    for network in 0..<2 {
      if isValidated(training) {
        for (name, tensor) in weights(training.networks[network]) {
          try tensor.assign(from: try training.kept("best.\(network).\(name)"))
        }
      }
      try training.forgetMoments(network)
    }
  }

  /// For each prefix length the logits of the validation samples.
  private func scores(_ training: Training, _ network: Int) throws(TemperError) -> [[Double]] {
    let head = try ClassifierHead(training.networks[network].model)
    let (weights, biases) = try head.values(training.networks[network])
    guard let x = training.samples.whole["validation_x"]?.tensor else { return [] }
    let shape = Shape([x.shape[0]] + training.networks[network].model.input.shape.sizes)
    let features = try training.view(network, of: try x.reshaped(shape)).features.array(of: Double.self)
    var now = (0..<x.shape[0]).flatMap { _ in biases }
    return (0..<head.width).map { k in
      for place in now.indices {
        now[place] += features[place / head.classes * head.width + k] * weights[place % head.classes * head.width + k]
      }
      return now
    }
  }

  /// The length with the largest accuracy - 1e-5 k, and that.
  private func best(
    _ training: Training, _ scores: [[Double]], _ classes: Int
  ) throws(TemperError) -> (length: Int, score: Double) {
    let ids = try training.samples.whole["validation_y"]?.tensor.array(of: Int32.self) ?? []
    var found = (length: scores.count, score: -Double.infinity)
    for (k, logits) in scores.enumerated() {
      let right = ids.indices.count { sample in
        let row = sample * classes..<(sample + 1) * classes
        return row.reduce(row.lowerBound) { logits[$1] > logits[$0] ? $1 : $0 } - row.lowerBound == Int(ids[sample])
      }
      let score = Double(right) / Double(max(ids.count, 1)) - 1e-5 * Double(k + 1)
      if score > found.score { found = (k + 1, score) }
    }
    return found
  }
}
