import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Training on labels as they come: the network's probabilities go through an estimate of how true classes become labels,
/// P(label | x) = p(x) T, which is made once from the network itself.
///
/// Anchor points, Patrini et al., 2017: row c of T is what the network says of the sample that it is surest is of class
/// c. Dual T, Yao et al., 2020: that, with the class the network would choose in the place of the label, times the
/// shares of labels among samples for which it chooses a class, which are counted.
final class EstimatedTransition: RecordedProcedure {
  static let method = Method.procedure(
    "estimated_transition", aliases: ["anchor_forward_correction", "dual_t"], area: "noisy-labels",
    summary: "Estimates after a warm-up how true classes become labels, and corrects the loss by it.",
    reference: Reference(
      "Yao et al.", 2020, "Dual T: Reducing Estimation Error for Transition Matrix in Label-noise Learning",
      arXiv: "2006.07805"),
    parameters: [
      .choice("estimator", ["dual_t", "anchor"], "From anchor points alone, or with counts."),
      .integer("warmup_epochs", 10, in: 1 ... .max, "Epochs of plain training before the estimate."),
      .real(
        "percentile", 0.97, in: .unit, "An anchor's probability is at this percentile of a class's, against outliers."),
    ], replaces: [.objective], EstimatedTransition.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireClasses(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    let classes = training.networks[0].model.output.last
    _ = try training.classIds(for: self)
    let identity = (0..<classes * classes).map { $0 % (classes + 1) == 0 ? 1.0 : 0 }
    try training.keep("transition", [classes, classes]).assign(
      from: try Tensor(identity, shape: [classes, classes]))
  }

  func phase(_ position: Position) -> Int { position.epoch > arguments.integer("warmup_epochs") ? 1 : 0 }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let logits = try step.forward()
    guard step.phase == 1 else { return try step.loss(of: logits).reduced(.mean) }
    let noisy = Expression.matmul(logits.softmax(), try step.whole("transition"))
    // Logarithms of probabilities are logits of them.
    return try step.loss(of: log(maximum(noisy, 1e-12))).reduced(.mean)
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    guard training.position.epoch == arguments.integer("warmup_epochs") else { return }
    let transition = try training.kept("transition")
    let classes = transition.shape[0]
    let p = try Matrix(training.outputs()).softmax().values
    var estimate = anchored(p, classes)
    if arguments.text("estimator") == "dual_t" {
      let counts = counted(p, try training.classIds(for: self), classes)
      estimate = SmallMatrices.product(estimate, counts, classes, classes, classes)
    }
    try transition.assign(from: try Tensor(estimate, shape: transition.shape))
  }

  /// Rows of p at the anchors.
  private func anchored(_ p: [Double], _ classes: Int) -> [Double] {
    let count = p.count / classes
    let place = min(Int(arguments.real("percentile") * Double(count)), count - 1)
    return (0..<classes).flatMap { c in
      let order = ascendingOrder((0..<count).map { p[$0 * classes + c] })
      return p[order[place] * classes..<(order[place] + 1) * classes]
    }
  }

  /// P(label | class that the network chooses); a class that it never chooses keeps its label.
  private func counted(_ p: [Double], _ labels: [Int], _ classes: Int) -> [Double] {
    var counts = [Double](repeating: 0, count: classes * classes)
    for (sample, label) in labels.enumerated() {
      let row = p[sample * classes..<(sample + 1) * classes]
      let chosen = row.indices.reduce(row.startIndex) { row[$1] > row[$0] ? $1 : $0 } - row.startIndex
      counts[chosen * classes + label] += 1
    }
    for c in 0..<classes {
      let sum = counts[c * classes..<(c + 1) * classes].reduce(0, +)
      for label in 0..<classes {
        counts[c * classes + label] = sum > 0 ? counts[c * classes + label] / sum : (c == label ? 1 : 0)
      }
    }
    return counts
  }
}
