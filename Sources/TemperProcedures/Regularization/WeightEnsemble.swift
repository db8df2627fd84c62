import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Fine-tuning whose result lies between where it began and where it went, after label smoothing and mixup kept the
/// fine-tuned end from being over-confident: w = (1 - alpha) w_0 + alpha w_1, put in place after the last epoch.
/// Without smoothing and mixup that is WiSE-FT (Wortsman et al., 2022).
final class WeightEnsemble: RecordedProcedure {
  static let method = Method.procedure(
    "bang_weight_ensemble", aliases: ["wise_ft"], area: "regularize",
    summary: "Averages the weights before and after a fine-tuning that was kept from over-confidence.",
    reference: Reference(
      "Lin et al.", 2024, "Spurious Feature Diversification Improves Out-of-distribution Generalization",
      arXiv: "2309.17230"),
    parameters: [
      .real("alpha", 0.5, in: .unit, "The share of the fine-tuned weights."),
      .real("label_smoothing", 0.1, in: .belowOne, "The share of a target that is spread over all classes."),
      .real("mixup_alpha", 0.2, in: .nonNegative, "Samples are mixed by Beta(a, a); 0: not."),
    ], replaces: [.objective], WeightEnsemble.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    guard model.input.kind == .real || arguments.real("mixup_alpha") == 0 else {
      throw TemperError(.unsupported, "Indices cannot be mixed: mixup_alpha must be 0 for this model.")
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    for (index, network) in training.networks.enumerated() {
      try training.keep("start\(index)", network.parameters.shape).assign(from: network.parameters)
    }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let classes = step.training.networks[0].model.output.last
    let smoothing = arguments.real("label_smoothing")
    var x = try step.rows("x")
    var targets = (1 - smoothing) * (try step.targetProbabilities(classes)) + smoothing / Double(classes)
    let alpha = arguments.real("mixup_alpha")
    if alpha > 0 {
      let share = step.mixingShare(alpha)
      (x, targets) = (x.mixed(share), targets.mixed(share))
    }
    return try step.loss(of: try step.forward(0, x), replacing: ["targets": targets]).reduced(.mean)
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    guard training.position.epoch == training.position.epochs else { return }
    let share = arguments.real("alpha")
    for (index, network) in training.networks.enumerated() {
      let start = try training.kept("start\(index)").array(of: Double.self)
      let end = try network.parameters.array(of: Double.self)
      let between = zip(start, end).map { (1 - share) * $0 + share * $1 }
      try network.parameters.assign(from: try Tensor(between, shape: network.parameters.shape))
    }
  }
}
