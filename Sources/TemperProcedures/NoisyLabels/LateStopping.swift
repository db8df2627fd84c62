import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// In rounds, each from the first parameters on, only the samples stay whose label the network has predicted in k epochs on
/// end soon enough; the last network learns from those that are left. Yuan et al., 2023, arXiv 2308.13862.
///
/// A round ends when keep_rate^round of all samples, or all that are left, have been learned, or after max_epochs.
final class LateStopping: RecordedProcedure {
  static let method = Method.procedure(
    "late_stopping", area: "noisy-labels",
    summary: "Drops, in rounds, the samples that are learned last; learns from the rest.",
    reference: Reference(
      "Yuan et al.", 2023, "Late Stopping: Avoiding Confidently Learning from Mislabeled Examples",
      arXiv: "2308.13862"),
    parameters: [
      .integer("rounds_each", 4, in: 1...1000, "Rounds for each k."),
      .integer("largest_k", 3, in: 1...100, "k is 1, 2, … up to this: epochs on end that count as learned."),
      .real("keep_rate", 0.955, in: .unit, "The share of the samples that a round keeps."),
      .integer("warmup_epochs", 6, in: 0 ... .max, "Epochs of each round in which nothing is recorded."),
      .integer("max_epochs", 300, in: 1 ... .max, "The longest that a round may last."),
    ],
    state: [
      SampleState("kept", [], initial: 1, "Whether it is still learned from."),
      SampleState("right", [], "Epochs on end in which the label was predicted, up to now."),
      SampleState("learned", [], "Whether that was often enough in this round."),
    ], replaces: [.order], LateStopping.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireClasses(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    _ = try training.classIds(for: self)
    try keepState(training)
    try training.keep("round")
    try training.keep("epochs")
    try training.keep("first", training.networks[0].parameters.shape)
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    if training.position.steps == 0 { try training.kept("first").assign(from: training.networks[0].parameters) }
  }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    let kept = try training.kept("kept").array(of: Double.self)
    var random = training.random("shuffle").stream(training.position.epoch)
    return random.permutation(training.sampleCount).filter { kept[$0] == 1 }.map(Int32.init(truncatingIfNeeded:))
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    // From a checkpoint both may be any number.
    let done = try training.kept("round").array(of: Double.self)[0]
    let rounds = arguments.integer("rounds_each") * arguments.integer("largest_k")
    guard done >= 0, done < Double(rounds) else { return }
    let round = Int(done)
    let epochs = try training.kept("epochs").array(of: Double.self)[0] + 1
    try training.kept("epochs").fill(epochs)
    guard epochs > Double(arguments.integer("warmup_epochs")) else { return }
    let kept = try training.kept("kept").array(of: Double.self)
    var (right, learned) = (
      try training.kept("right").array(of: Double.self), try training.kept("learned").array(of: Double.self)
    )
    let k = Double(1 + round / arguments.integer("rounds_each"))
    let (labels, chosen) = (try training.classIds(for: self), try training.chosenClasses())
    for sample in kept.indices where kept[sample] == 1 {
      right[sample] = chosen[sample] == labels[sample] ? right[sample] + 1 : 0
      if right[sample] >= k { learned[sample] = 1 }
    }
    let (alive, reached) = (kept.reduce(0, +), learned.reduce(0, +))
    let goal = min(Double(kept.count) * power(arguments.real("keep_rate"), Double(round + 1)), alive)
    if reached >= goal || epochs >= Double(arguments.integer("max_epochs")) {
      // A round that learned nothing would leave nothing to learn from.
      if reached > 0 { try training.kept("kept").assign(from: try Tensor(learned, shape: [learned.count, 1])) }
      (right, learned) = (right.map { _ in 0 }, learned.map { _ in 0 })
      try training.kept("round").fill(Double(round + 1))
      try training.kept("epochs").fill(0)
      try training.networks[0].parameters.assign(from: try training.kept("first"))
      try training.forgetMoments()
    }
    try training.kept("right").assign(from: try Tensor(right, shape: [right.count, 1]))
    try training.kept("learned").assign(from: try Tensor(learned, shape: [learned.count, 1]))
  }
}
