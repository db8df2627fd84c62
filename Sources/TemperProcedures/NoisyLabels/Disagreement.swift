import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

extension StepGraph {
  /// 1 where two networks choose different classes, (B, 1).
  fileprivate func disagreement(_ a: Expression, _ b: Expression, counted: Expression?) -> Expression {
    let differs = (a.argmax() .!= b.argmax()).reshaped([count, 1])
    return (counted.map { differs .& $0 } ?? differs).stopGradient
  }
}

/// Two networks; both learn only from the samples about which they disagree.
/// Malach and Shalev-Shwartz, 2017, arXiv 1706.02613.
final class Decoupling: RecordedProcedure {
  static let method = Method.procedure(
    "decoupling", area: "noisy-labels",
    summary: "Two networks; both learn from the samples for which they choose different classes.",
    reference: Reference(
      "Malach and Shalev-Shwartz", 2017, "Decoupling \"when to update\" from \"how to update\"",
      arXiv: "1706.02613"),
    parameters: [.integer("warmup_epochs", 1, in: 0 ... .max, "Epochs in which they learn from every sample.")],
    replaces: [.objective], Decoupling.self)

  let arguments: Arguments
  let networkCount = 2
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
  }

  func phase(_ position: Position) -> Int { position.epoch > arguments.integer("warmup_epochs") ? 1 : 0 }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let outputs = (try step.forward(0), try step.forward(1))
    let (a, b) = (try step.loss(of: outputs.0, network: 0), try step.loss(of: outputs.1, network: 1))
    guard step.phase == 1 else { return a.reduced(.mean) + b.reduced(.mean) }
    let chosen = step.disagreement(outputs.0, outputs.1, counted: a.counted)
    return a.values.mean(over: chosen) + b.values.mean(over: chosen)
  }
}

/// Co-teaching among the samples about which the two networks disagree.
/// Yu et al., 2019, arXiv 1901.04215.
final class CoTeachingPlus: RecordedProcedure {
  static let method = Method.procedure(
    "co_teaching_plus", area: "noisy-labels",
    summary: "Co-teaching among the samples for which the two networks choose different classes.",
    reference: Reference(
      "Yu et al.", 2019, "How does Disagreement Help Generalization against Label Corruption?", arXiv: "1901.04215"),
    parameters: KeptShare.parameters + [
      .integer("warmup_epochs", 20, in: 0 ... .max, "Epochs of co-teaching on every sample before.")
    ], replaces: [.objective], CoTeachingPlus.self)

  let arguments: Arguments
  let networkCount = 2
  private let share: KeptShare
  init(_ arguments: Arguments) { (self.arguments, share) = (arguments, KeptShare(arguments)) }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
  }

  func phase(_ position: Position) -> Int { position.epoch > arguments.integer("warmup_epochs") ? 1 : 0 }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let outputs = (try step.forward(0), try step.forward(1))
    let (a, b) = (try step.loss(of: outputs.0, network: 0), try step.loss(of: outputs.1, network: 1))
    let share = step.number("kept share") { [share] in share($0) }
    let among = step.phase == 0 ? a.counted : step.disagreement(outputs.0, outputs.1, counted: a.counted)
    return a.values.mean(over: step.smallest(b.values, share: share, counted: among))
      + b.values.mean(over: step.smallest(a.values, share: share, counted: among))
  }
}
