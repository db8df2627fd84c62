import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// One network that learns from the samples of the batch with its own smallest losses: the trimmed loss.
/// Shen and Sanghavi, 2019, arXiv 1810.11874.
final class SmallLoss: RecordedProcedure {
  static let method = Method.procedure(
    "small_loss", aliases: ["trimmed_loss"], area: "noisy-labels",
    summary: "Learns from the samples of a batch that have the smallest losses.",
    reference: Reference(
      "Shen and Sanghavi", 2019, "Learning with Bad Training Data via Iterative Trimmed Loss Minimization",
      arXiv: "1810.11874"),
    parameters: KeptShare.parameters, replaces: [.objective], SmallLoss.self)

  let arguments: Arguments
  private let share: KeptShare

  init(_ arguments: Arguments) { (self.arguments, share) = (arguments, KeptShare(arguments)) }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireValueBySample(loss) }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let loss = try step.loss(of: try step.forward())
    let share = step.number("kept share") { [share] in share($0) }
    return loss.values.mean(over: step.smallest(loss.values, share: share, counted: loss.counted))
  }
}
