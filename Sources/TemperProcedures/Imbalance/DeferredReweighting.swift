import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Plain training first; then classes are weighted by their effective number of samples, (1 - beta) / (1 - beta^n_k).
/// DRW, Cao et al., 2019, arXiv 1906.07413.
final class DeferredReweighting: RecordedProcedure {
  static let method = Method.procedure(
    "deferred_reweighting", aliases: ["drw"], area: "imbalance",
    summary: "Plain training first; then rare classes weigh more.",
    reference: Reference(
      "Cao et al.", 2019, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", arXiv: "1906.07413"),
    parameters: [
      .integer("defer_epochs", 160, in: 0 ... .max, "Epochs in which all samples weigh alike."),
      .real("beta", 0.9999, in: .belowOne, "0 weighs classes alike per sample, near 1 by their size."),
    ], replaces: [.objective], DeferredReweighting.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
  }

  func prepare(_ training: Training) throws(TemperError) {
    let classes = training.networks[0].model.output.last
    var counts = [Double](repeating: 0, count: classes)
    for id in try training.classIds(for: self) { counts[id] += 1 }
    let beta = arguments.real("beta")
    let weights = counts.map { $0 > 0 ? (1 - beta) / (1 - power(beta, $0)) : 0 }
    let whole = weights.reduce(0, +) / Double(classes)
    try training.keep("class weights", [1, classes]).assign(
      from: try Tensor(weights.map { $0 / whole }, shape: [1, classes]))
  }

  func phase(_ position: Position) -> Int { position.epoch > arguments.integer("defer_epochs") ? 1 : 0 }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let logits = try step.forward()
    let loss = try step.loss(of: logits)
    guard step.phase == 1 else { return loss.reduced(.mean) }
    let weights = (try step.targetProbabilities(logits.shape.last) * (try step.whole("class weights"))).sum()
    return loss.values.mean(over: loss.counted.map { weights * $0 } ?? weights)
  }
}
