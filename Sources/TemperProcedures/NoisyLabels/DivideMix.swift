import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Two networks. After each epoch a mixture of two normal distributions, fitted to the losses in one network, says for the
/// other which labels are to be believed: those are refined, the rest are replaced by what both networks say, and all
/// samples are mixed. DivideMix, Li et al., 2020, arXiv 2002.07394.
///
/// Here each batch holds samples of both kinds, each mixed with the next one, and both networks learn in every step.
final class DivideMix: RecordedProcedure {
  static let method = Method.procedure(
    "divide_mix", aliases: ["dividemix"], area: "noisy-labels",
    summary: "Two networks part the samples for each other by a mixture fitted to losses; the rest is semi-supervised.",
    reference: Reference(
      "Li et al.", 2020, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning", arXiv: "2002.07394"),
    parameters: [
      .integer("warmup_epochs", 10, in: 1 ... .max, "Epochs of plain training before."),
      .real("threshold", 0.5, in: .unit, "A label is believed where the posterior of the small losses is above this."),
      .real("temperature", 0.5, in: .positive, "Guesses are sharpened by this."),
      .real("lambda_u", 25, in: .nonNegative, "The weight of the samples whose labels are not believed."),
      .integer("ramp", 16, in: 1 ... .max, "Epochs after the warm-up until that weight is reached."),
      .real("mixup_alpha", 4, in: .nonNegative, "The share of a sample in a mixture is Beta(a, a); 0: no mixtures."),
    ],
    state: [
      SampleState("clean.0", [], initial: 1, "How far the first network is to believe the label."),
      SampleState("clean.1", [], initial: 1, "And the second."),
    ], replaces: [.objective], DivideMix.self)

  let arguments: Arguments
  let networkCount = 2
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireCrossEntropy(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    try keepState(training)
  }

  func phase(_ position: Position) -> Int { position.epoch > arguments.integer("warmup_epochs") ? 1 : 0 }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    guard training.position.epoch >= arguments.integer("warmup_epochs") else { return }
    for network in 0..<2 {
      let losses = try training.losses(network).scaledToUnit
      let mixture = try GaussianMixture(fitting: losses, iterations: 10, tolerance: 1e-2, floor: 5e-4)
      let posteriors = mixture.posteriors(losses)
      // The other network learns by it.
      try training.kept("clean.\(1 - network)").assign(
        from: try Tensor(losses.indices.map { posteriors[2 * $0] }, shape: [losses.count, 1]))
    }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    if step.phase == 0 {
      return try step.loss(of: try step.forward(0), network: 0).reduced(.mean)
        + step.loss(of: try step.forward(1), network: 1).reduced(.mean)
    }
    let guesses = [
      try step.forward(0, mode: .inference).softmax().stopGradient,
      try step.forward(1, mode: .inference).softmax().stopGradient,
    ]
    let share = step.mixingShare(arguments.real("mixup_alpha"))
    let x = try step.rows("x").mixed(share)
    let (warmup, ramp) = (arguments.integer("warmup_epochs"), arguments.integer("ramp"))
    let weight = step.number("unlabelled weight") { [arguments] in
      arguments.real("lambda_u") * min(Double($0.epoch - warmup) / Double(ramp), 1)
    }
    var sum = Expression.constant(0)
    for network in 0..<2 {
      let clean = try step.rows("clean.\(network)")
      let isLabelled = clean .> arguments.real("threshold")
      let y = try step.targetProbabilities(guesses[0].shape.last)
      let refined = clean * y + (1 - clean) * guesses[network]
      let guessed = (guesses[0] + guesses[1]) / 2
      let targets = Expression.select(isLabelled, refined, guessed).sharpened(arguments.real("temperature"))
        .mixed(share).stopGradient
      let logits = try step.forward(network, x)
      let fit = -(targets * logits.logSoftmax()).sum()
      let apart = square(logits.softmax() - targets).mean()
      // Against one class for everything: sum_c 1/C log(1/C / mean p_c)
      let average = logits.softmax().mean(axis: 0)
      let balance = -(log(average) + logarithm(Double(average.shape.last))).meanAll()
      let labelled = isLabelled.stopGradient
      sum = sum + fit.mean(over: labelled) + weight * apart.mean(over: 1 - labelled) + balance
    }
    return sum
  }
}
