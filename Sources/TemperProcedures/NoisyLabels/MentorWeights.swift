import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Weights by a curriculum: samples whose loss is below a moving percentile of the losses count wholly, those above less
/// or not at all. The predefined curriculum of MentorNet, Jiang et al., 2018, arXiv 1712.05055.
///
///     v_i = 1[l_i <= l_p] if width is 0, else min(max(1 - (l_i - l_p) / width, 0), 1)
final class MentorWeights: RecordedProcedure {
  static let method = Method.procedure(
    "mentor_weights", aliases: ["mentor_net", "self_paced"], area: "noisy-labels",
    summary: "Weighs samples by how far their loss lies above a moving percentile of the losses.",
    reference: Reference(
      "Jiang et al.", 2018,
      "MentorNet: Learning Data-Driven Curriculum for Very Deep Neural Networks on Corrupted Labels",
      arXiv: "1712.05055"),
    parameters: [
      .real("percentile", 0.75, in: .unit, "The share of samples that count wholly."),
      .real("width", 0, in: .nonNegative, "How far above it a loss still counts in part."),
      .real("decay", 0.5, in: .belowOne, "How slowly the percentile follows the batches."),
      .integer("warmup_epochs", 18, in: 0 ... .max, "Epochs in which every sample counts."),
    ], replaces: [.objective], MentorWeights.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireValueBySample(loss) }

  func prepare(_ training: Training) throws(TemperError) { try training.keep("percentile") }

  func phase(_ position: Position) -> Int { position.epoch > arguments.integer("warmup_epochs") ? 1 : 0 }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let loss = try step.loss(of: try step.forward())
    let row = loss.values.reshaped([1, step.count]).stopGradient.sorted()
    let place = min(Int(arguments.real("percentile") * Double(step.count)), step.count - 1)
    // The first step has nothing to follow.
    let decay = step.number("decay") { [arguments] in $0.steps == 0 ? 0 : arguments.real("decay") }
    let bound = decay * (try step.whole("percentile")) + (1 - decay) * row.slice(place..<(place + 1), axis: 1).sumAll()
    try step.update("percentile", to: bound)
    guard step.phase == 1 else { return loss.reduced(.mean) }
    let width = arguments.real("width")
    let weights = width == 0 ? loss.values .<= bound : clamp(1 - (loss.values - bound) / width, 0, 1)
    // The mean is over all samples: fewer that count are a smaller step.
    let counted = loss.counted?.sumAll() ?? .constant(Double(step.count))
    return (weights.stopGradient * loss.values).sumAll() / maximum(counted, 1)
  }
}
