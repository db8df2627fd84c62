import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Two detectors of wrong labels by turns: the loss, and a plane in features that were learned without labels, fitted to
/// what the loss says. Samples whose label is not believed get a guess, which counts as far as the network keeps to it.
/// Albert et al., 2024, arXiv 2407.05528.
///
///     A: the posterior of the larger of two normal distributions of losses > gmm_threshold
///     B: logistic regression, features -> A's verdict, both sides weighing alike; odd epochs take A's, even ones B's
///     guess = mean over views of p, to the power gamma, of sum 1;  its weight: the posterior of small losses against it
///     cross-entropy of mixed samples, weighted, + contrast of two views towards samples of alike targets
///
/// `features` bring what was learned without labels; else the network first learns to tell samples apart
/// (`contrastive_epochs`), and its own features are taken, or without such epochs x itself.
final class LinearSeparation: RecordedProcedure {
  static let method = Method.procedure(
    "linear_separation_alternating", aliases: ["lsa"], area: "noisy-labels",
    summary:
      "Finds wrong labels by losses and by a plane in label-free features, by turns, and replaces them by guesses.",
    reference: Reference(
      "Albert et al.", 2024, "An accurate detection is not all you need to combat label noise in web-noisy datasets",
      arXiv: "2407.05528"),
    parameters: [
      .choice("order", ["alternate", "loss", "linear"], "Which detectors: both by turns, or one."),
      .real(
        "gmm_threshold", 0.95, in: .unit, "A label is wrong where the posterior of the large losses is above this."),
      .real("gamma", 2, in: .positive, "The power by which guesses are sharpened."),
      .real("mu", 0.2, in: .positive, "The temperature of the contrast."),
      .real("contrast", 1, in: .nonNegative, "The weight of the contrast."),
      .real("mixup_alpha", 1, in: .nonNegative, "The share of a sample in a mixture is Beta(a, a); 0: no mixtures."),
      .real("noise", 0.05, in: .nonNegative, "The standard deviation of the noise that makes a view."),
      .integer("warmup_epochs", 1, in: 1 ... .max, "Epochs of plain training before.").named(also: "warmup"),
      .integer("contrastive_epochs", 0, in: 0 ... .max, "Epochs of contrast without labels before those."),
      .boolean("co_training", false, "Two networks; each learns by what is found in the other."),
    ] + ContrastiveStage.parameters,
    inputs: [
      Input("features", [.init(["N", "F"])], isOptional: true, isDifferentiable: false, "Learned without labels.")
    ],
    state: [
      SampleState("noisy.0", [], "1 where the label is not believed."),
      SampleState("target.0", ["C"], "The label, or the guess."),
      SampleState("weight.0", [], initial: 1, "How much it counts."),
      SampleState("noisy.1", ["co_training"], "The same for the second network, if there is one."),
      SampleState("target.1", ["co_training", "C"], "Its labels and guesses."),
      SampleState("weight.1", ["co_training"], initial: 1, "Their weights."),
      SampleState("frozen", ["own_features"], "Features learned without labels, where the network learned them."),
    ], replaces: [.objective], LinearSeparation.self)

  let arguments: Arguments
  var networkCount: Int { arguments.boolean("co_training") ? 2 : 1 }
  init(_ arguments: Arguments) { self.arguments = arguments }

  /// What the planes of a call of `fit` lie in: features, standardized, and ones.
  private var design: LogisticPass?

  private var pretraining: Int { arguments.integer("contrastive_epochs") }
  private var warmup: Int { pretraining.addingReportingOverflow(arguments.integer("warmup_epochs")).partialValue }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireCrossEntropy(model, loss)
    guard model.input.kind == .real else {
      throw TemperError(.unsupported, "It makes views by noise and mixes samples; this model takes indices.")
    }
  }

  func size(_ letter: String, _ training: Training) -> Int? {
    switch letter {
    case "co_training": networkCount - 1
    case "own_features":
      pretraining > 0 && training.samples.rows["features"] == nil
        ? Training.featureShape(training.networks[0].model).count : 0
    default: nil
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    _ = try training.classIds(for: self)
    try keepState(training)
    design = nil
    let width = try features(training).count / training.sampleCount
    for network in 0..<networkCount {
      // The last one, from which the next fit begins.
      try training.keep("plane.\(network)", [width + 1])
      if pretraining > 0 { try stage(training, network).prepare(training) }
    }
  }

  private func stage(_ training: Training, _ network: Int) -> ContrastiveStage {
    let width = Training.featureShape(training.networks[network].model).count
    return ContrastiveStage(arguments, width: width, name: "projection.\(network)")
  }

  func phase(_ position: Position) -> Int {
    position.epoch <= pretraining ? 0 : position.epoch <= warmup ? 1 : 2
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let noise = arguments.real("noise")
    var sum = Expression.constant(0)
    for network in 0..<networkCount {
      switch step.phase {
      case 0:
        sum =
          sum
          + (try stage(step.training, network).objective(
            step, network, noise: noise, temperature: arguments.real("mu")))
      case 1: sum = sum + (try step.loss(of: try step.forward(network), network: network).reduced(.mean))
      default: sum = sum + (try learned(step, network))
      }
    }
    return sum
  }

  private func learned(_ step: StepGraph, _ network: Int) throws(TemperError) -> Expression {
    let share = step.mixingShare(arguments.real("mixup_alpha"))
    let x = try step.rows("x").mixed(share)
    let target = try step.rows("target.\(network)").reshaped([step.count, step.training.networks[0].model.output.last])
    let logits = try step.forward(network, step.noisy(x, arguments.real("noise")))
    let weighted = (try step.rows("weight.\(network)") * target).mixed(share)
    let fit = -(weighted * logits.logSoftmax()).sum().meanAll()
    let weight = arguments.real("contrast")
    guard weight > 0 else { return fit }
    let other = try step.forward(network, step.noisy(x, arguments.real("noise")))
    let (a, b) = (try step.flatFeatures(of: logits).unitRows, try step.flatFeatures(of: other).unitRows)
    let mixed = target.mixed(share)
    let alike = Expression.matmul(mixed, mixed, transposeB: true)
    let near = (Expression.matmul(a, b, transposeB: true) / arguments.real("mu")).logSoftmax()
    return fit - weight * (alike / alike.sum() * near).sum().meanAll()
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    let epoch = training.position.epoch
    if epoch == pretraining, let frozen = try? training.kept("frozen") {
      let features = try training.view().features
      try frozen.assign(from: try features.reshaped(frozen.shape))
    }
    guard epoch >= warmup else { return }
    let takesPlane = arguments.text("order") == "linear" || (arguments.text("order") == "alternate" && epoch % 2 == 1)
    var outputs: [Tensor] = []
    for network in 0..<networkCount { outputs.append(try training.outputs(network)) }
    for network in 0..<networkCount {
      let losses = try training.losses(of: outputs[network]).scaledToUnit
      let mixture = try GaussianMixture(fitting: losses, iterations: 100, tolerance: 1e-3, floor: 5e-4)
      let posteriors = mixture.posteriors(losses)
      var noisy = losses.indices.map { posteriors[2 * $0 + 1] > arguments.real("gmm_threshold") }
      if takesPlane { noisy = try parted(training, noisy, network) }
      // With two networks, what is found in one is for the other.
      let learner = networkCount - 1 - network
      try keep(training, noisy, outputs[learner], for: learner)
    }
  }

  /// What the plane lies in.
  private func features(_ training: Training) throws(TemperError) -> Tensor {
    if let known = training.samples.rows["features"]?.tensor ?? (try? training.kept("frozen")) { return known }
    return try training.inputs(0..<training.sampleCount)
  }

  /// The verdict of the plane that best parts the two sides, if there are two.
  private func parted(_ training: Training, _ noisy: [Bool], _ network: Int) throws(TemperError) -> [Bool] {
    let count = noisy.count { $0 }
    guard count > 0, count < noisy.count else { return noisy }
    let pass: LogisticPass
    if let design {
      pass = design
    } else {
      pass = try LogisticPass(try Matrix(try features(training)).standardized.withOnes, training.workers)
      design = pass
    }
    let (sides, whole) = ([Double(noisy.count - count), Double(count)], Double(noisy.count))
    let last = try training.kept("plane.\(network)")
    let plane = try pass.fit(
      noisy.map { $0 ? 1 : 0 }, noisy.map { whole / (2 * sides[$0 ? 1 : 0]) }, from: try last.array(of: Double.self))
    try last.assign(from: try Tensor(plane, shape: last.shape))
    return try pass.scores(plane).map { $0 > 0 }
  }

  /// Labels or guesses, and their weights.
  private func keep(
    _ training: Training, _ noisy: [Bool], _ outputs: Tensor, for network: Int
  ) throws(TemperError) {
    let (classes, noise) = (training.networks[0].model.output.last, arguments.real("noise"))
    let doubted = noisy.indices.filter { noisy[$0] }
    // What the losses were taken from is the prediction that guesses are held against.
    let fresh = try Matrix(outputs.rows(doubted)).softmax().values
    var (first, second) = (fresh, fresh)
    if noise > 0 {
      first = try Matrix(training.outputs(network, ids: doubted, noise: noise, draw: 0)).softmax().values
      second = try Matrix(training.outputs(network, ids: doubted, noise: noise, draw: 1)).softmax().values
    }
    let (labels, gamma) = (try training.classIds(for: self), arguments.real("gamma"))
    var targets = [Double](repeating: 0, count: labels.count * classes)
    var weights = [Double](repeating: 1, count: labels.count)
    for (sample, label) in labels.enumerated() where !noisy[sample] { targets[sample * classes + label] = 1 }
    var against: [Double] = []
    for (at, sample) in doubted.enumerated() {
      let row = at * classes..<(at + 1) * classes
      let powers = row.map { place in
        let mean = (first[place] + second[place]) / 2
        return gamma == 2 ? mean * mean : power(mean, gamma)
      }
      let whole = max(powers.reduce(0, +), 1e-300)
      var entropy = 0.0
      for (label, place) in row.enumerated() {
        targets[sample * classes + label] = powers[label] / whole
        entropy -= powers[label] / whole * logarithm(max(fresh[place], 1e-12))
      }
      against.append(entropy)
    }
    if against.count > 1 {
      let mixture = try GaussianMixture(fitting: against, iterations: 100, tolerance: 1e-3, floor: 1e-6)
      let posteriors = mixture.posteriors(against)
      for (at, sample) in doubted.enumerated() { weights[sample] = posteriors[2 * at] }
    }
    for (name, values) in [("noisy", noisy.map { $0 ? 1.0 : 0 }), ("weight", weights), ("target", targets)] {
      let tensor = try training.kept("\(name).\(network)")
      try tensor.assign(from: try Tensor(values, shape: tensor.shape))
    }
  }
}
