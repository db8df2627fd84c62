import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Two networks, each held to what a moving average of the other has believed of every sample, on mixed samples.
/// ELR+, Liu et al., 2020, arXiv 2007.00151.
///
///     t_i <- beta t_i + (1 - beta) p_i of the other's average;  cross-entropy + lam log(1 - <p, t>), on mixtures
///
/// Networks: the two, then their averages.
final class EarlyLearningPlus: RecordedProcedure {
  static let method = Method.procedure(
    "elr_plus", area: "noisy-labels",
    summary: "Two networks, each held to what a moving average of the other has believed, on mixed samples.",
    reference: Reference(
      "Liu et al.", 2020, "Early-Learning Regularization Prevents Memorization of Noisy Labels", arXiv: "2007.00151"),
    parameters: [
      .real("lam", 3, in: .nonNegative, "The weight of what was believed."),
      .real("beta", 0.7, in: .belowOne, "How slowly beliefs follow."),
      .real("ema", 0.997, in: .unit, "How slowly the averages follow the networks."),
      .real("mixup_alpha", 1, in: .nonNegative, "The share of a sample in a mixture is Beta(a, a); 0: no mixtures."),
    ],
    state: [
      SampleState("believed.0", ["C"], "What the second average has believed, for the first network."),
      SampleState("believed.1", ["C"], "What the first has, for the second."),
    ], replaces: [.objective], EarlyLearningPlus.self)

  let arguments: Arguments
  let networkCount = 4
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireCrossEntropy(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    try keepState(training)
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    guard training.position.steps == 0 else { return }
    training.copy(0, to: 2)
    training.copy(1, to: 3)
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let (lam, beta) = (arguments.real("lam"), arguments.real("beta"))
    let share = step.mixingShare(arguments.real("mixup_alpha"))
    let x = try step.rows("x").mixed(share)
    var sum = Expression.constant(0)
    for network in 0..<2 {
      let other = clamp(try step.forward(3 - network, mode: .inference).softmax(), 1e-4, 1 - 1e-4).stopGradient
      let believed = beta * (try step.rows("believed.\(network)")) + (1 - beta) * other / other.sum()
      try step.update("believed.\(network)", to: believed)
      let logits = try step.forward(network, x)
      let y = try step.targetProbabilities(logits.shape.last).mixed(share)
      let p = clamp(logits.softmax(), 1e-4, 1 - 1e-4)
      let fit = -(y * logits.logSoftmax()).sum()
      sum = sum + (fit + lam * log(1 - (p * believed.mixed(share).stopGradient).sum())).meanAll()
    }
    return sum
  }

  func stepDidEnd(_ training: Training) throws(TemperError) {
    for network in 0..<2 { training.average(network + 2, toward: network, decay: arguments.real("ema")) }
  }
}
