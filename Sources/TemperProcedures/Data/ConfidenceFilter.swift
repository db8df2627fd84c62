import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Samples whose label the network, trained on the others, does not confirm are left out or get the label that it is sure
/// of; then it learns anew. CLEAR, Chen and Mueller, 2024, arXiv 2403.12776, for classifiers.
///
///     confidence of class c: C = beta O + (1 - beta) S, O the share of k networks that choose c, S their mean p_c
///     dropped: C(label) < gamma, the median unless given;  replaced: the likeliest class, where its C >= eta
///
/// The k networks are those of the last k epochs of a fold, in which the sample was not trained on. (Answers in words are
/// also compared for contradiction, with a weight of its own; classes contradict where they differ.)
final class ConfidenceFilter: RecordedProcedure {
  static let method = Method.procedure(
    "confidence_filter_and_rectify", aliases: ["clear"], area: "data",
    summary: "Leaves out or mends labels that networks trained without them do not confirm; then learns anew.",
    reference: Reference(
      "Chen and Mueller", 2024, "Automated Data Curation for Robust Language Model Fine-Tuning", arXiv: "2403.12776"),
    parameters: [
      .integer("k", 5, in: 1...10_000, "Networks that are asked."),
      .real("beta", 0.7, in: .unit, "The share of their choices against their probabilities."),
      .optionalReal("gamma", in: .nonNegative, "Labels with less confidence are left out; none: the median."),
      .real("eta", 0.8, in: .nonNegative, "Another class with this confidence replaces a label; above 1: none does."),
      .integer("folds", 5, in: 2...10_000, "Parts, each judged by a network trained on the others."),
      .integer("fold_epochs", 20, in: 1...1_000_000, "Epochs of each such network."),
    ],
    state: [
      SampleState("choices", ["C"], "How many networks choose each class."),
      SampleState("beliefs", ["C"], "The sum of their probabilities."),
      SampleState("confidence", [], "That of the label."), SampleState("kept", [], initial: 1, "Whether it stays."),
      SampleState("label", ["C"], "The label, mended or not."),
    ], replaces: [.order, .objective], ConfidenceFilter.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  private var length: Int { arguments.integer("fold_epochs") }
  /// The last epoch of the last fold.
  private var judged: Int { arguments.integer("folds") * length }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    try requireProbabilities(loss)
  }

  func prepare(_ training: Training) throws(TemperError) {
    try keepState(training)
    let (ids, label) = (try training.classIds(for: self), try training.kept("label"))
    var given = [Double](repeating: 0, count: label.count)
    for (sample, id) in ids.enumerated() { given[sample * label.shape.last + id] = 1 }
    try label.assign(from: try Tensor(given, shape: label.shape))
    try training.keep("first", training.networks[0].parameters.shape).assign(from: training.networks[0].parameters)
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    let before = training.position.epoch - 1
    guard before > 0, before <= judged, before % length == 0 else { return }
    try training.networks[0].parameters.assign(from: try training.kept("first"))
    try training.forgetMoments()
  }

  /// For each sample the fold that it is left out of.
  private func folds(_ training: Training) -> [Int] {
    var random = training.random("folds")
    var folds = [Int](repeating: 0, count: training.sampleCount)
    for (place, sample) in random.permutation(training.sampleCount).enumerated() {
      folds[sample] = place % arguments.integer("folds")
    }
    return folds
  }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    let all = try PlainProcedure().order(training)
    guard training.position.epoch <= judged else {
      let kept = try training.kept("kept").array(of: Double.self)
      return all.filter { kept[Int($0)] == 1 }
    }
    let (folds, now) = (folds(training), (training.position.epoch - 1) / length)
    return all.filter { folds[Int($0)] != now }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    try step.loss(of: try step.forward(), replacing: ["targets": try step.rows("label")]).reduced(.mean)
  }

  private var asked: Int { min(arguments.integer("k"), length) }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    let epoch = training.position.epoch
    guard epoch <= judged, (epoch - 1) % length >= length - asked else { return }
    let (choices, beliefs) = (try training.kept("choices"), try training.kept("beliefs"))
    let classes = choices.shape.last
    let p = try Matrix(training.outputs()).softmax().values
    var (votes, sums) = (try choices.array(of: Double.self), try beliefs.array(of: Double.self))
    let (folds, now) = (folds(training), (epoch - 1) / length)
    for sample in folds.indices where folds[sample] == now {
      let row = sample * classes..<(sample + 1) * classes
      votes[row.reduce(row.lowerBound) { p[$1] > p[$0] ? $1 : $0 }] += 1
      for place in row { sums[place] += p[place] }
    }
    try choices.assign(from: try Tensor(votes, shape: choices.shape))
    try beliefs.assign(from: try Tensor(sums, shape: beliefs.shape))
    if epoch == judged { try judge(training, votes, sums, classes) }
  }

  private func judge(
    _ training: Training, _ votes: [Double], _ sums: [Double], _ classes: Int
  ) throws(TemperError) {
    let beta = arguments.real("beta")
    func confidence(_ place: Int) -> Double { (beta * votes[place] + (1 - beta) * sums[place]) / Double(asked) }
    let ids = try training.classIds(for: self)
    let own = ids.enumerated().map { confidence($0 * classes + $1) }
    let sorted = ascending(own)
    let gamma = arguments.optionalReal("gamma") ?? (sorted[sorted.count / 2] + sorted[(sorted.count - 1) / 2]) / 2
    var (kept, labels) = ([Double](), [Double](repeating: 0, count: votes.count))
    for (sample, id) in ids.enumerated() {
      let row = sample * classes..<(sample + 1) * classes
      let best = row.reduce(row.lowerBound) { sums[$1] > sums[$0] ? $1 : $0 }
      let isReplaced = best != row.lowerBound + id && confidence(best) >= arguments.real("eta")
      labels[isReplaced ? best : row.lowerBound + id] = 1
      kept.append(isReplaced || own[sample] >= gamma ? 1 : 0)
    }
    // There is always something to learn from.
    if !kept.contains(1) { kept = kept.map { _ in 1 } }
    for (name, values) in [("confidence", own), ("kept", kept), ("label", labels)] {
      let tensor = try training.kept(name)
      try tensor.assign(from: try Tensor(values, shape: tensor.shape))
    }
  }
}
