import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Several encoders, each with a classifier trained under the logarithms of the class shares; their logits are added. Chen et
/// al., 2025, arXiv 2501.15955.
///
///     sum_m cross-entropy(z_m + tau log pi, y);  prediction: argmax sum_m z_m
///
/// The encoders are the model and its peers, such as differently pre-trained ones; whoever predicts adds their outputs.
final class BackdoorAdjustment: RecordedProcedure {
  static let method = Method.procedure(
    "multi_encoder_backdoor_adjustment", area: "imbalance",
    summary: "Several encoders with logit-adjusted classifiers; the outputs of all networks are added to predict.",
    reference: Reference(
      "Chen et al.", 2025, "Rethinking the Bias of Foundation Model under Long-tailed Distribution",
      arXiv: "2501.15955"),
    parameters: [
      .real("tau", 1, in: .nonNegative, "How far logits are adjusted."),
      .integer("M", 3, in: 1...64, "Encoders: the model and M - 1 peers."),
    ], replaces: [.objective], BackdoorAdjustment.self)

  let arguments: Arguments
  var networkCount: Int { arguments.integer("M") }
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireClasses(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    var counts = [Double](repeating: 0, count: training.networks[0].model.output.last)
    let ids = try training.classIds(for: self)
    for id in ids { counts[id] += 1 }
    try training.keep("log priors", [1, counts.count]).assign(
      from: try Tensor(counts.map { logarithm($0 / Double(ids.count) + 1e-9) }, shape: [1, counts.count]))
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    var sum = Expression.constant(0)
    for network in 0..<networkCount {
      let adjusted = try step.forward(network) + arguments.real("tau") * (try step.whole("log priors"))
      sum = sum + (try step.loss(of: adjusted, network: network).reduced(.mean))
    }
    return sum
  }
}
