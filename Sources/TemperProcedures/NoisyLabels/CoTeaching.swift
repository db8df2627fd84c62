import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Two networks; each learns from the samples of the batch with the smallest losses in the other.
/// Han et al., 2018, arXiv 1804.06872.
final class CoTeaching: RecordedProcedure {
  static let method = Method.procedure(
    "co_teaching", area: "noisy-labels",
    summary: "Two networks; each learns from the samples of a batch that have the smallest losses in the other.",
    reference: Reference(
      "Han et al.", 2018, "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels",
      arXiv: "1804.06872"),
    parameters: KeptShare.parameters, replaces: [.objective], CoTeaching.self)

  let arguments: Arguments
  let networkCount = 2
  private let share: KeptShare

  init(_ arguments: Arguments) { (self.arguments, share) = (arguments, KeptShare(arguments)) }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireValueBySample(loss) }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let share = step.number("kept share") { [share] in share($0) }
    let a = try step.loss(of: try step.forward(0), network: 0)
    let b = try step.loss(of: try step.forward(1), network: 1)
    let ofA = step.smallest(b.values, share: share, counted: b.counted)
    let ofB = step.smallest(a.values, share: share, counted: a.counted)
    return a.values.mean(over: ofA) + b.values.mean(over: ofB)
  }
}
