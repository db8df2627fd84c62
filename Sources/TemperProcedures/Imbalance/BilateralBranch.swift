import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Two branches over common lower layers: one sees samples as they come, one sees rare classes most; what counts moves from
/// the first to the second. BBN, Zhou et al., 2020, arXiv 1912.02413.
///
///     alpha = 1 - ((epoch - 1) / epochs)^2
///     z = alpha z_1(x) + (1 - alpha) z_2(x'),  loss alpha l(z, y) + (1 - alpha) l(z, y'),  P(class of x' is k) ~ n_max / n_k
///
/// The branches are the last layers of two networks, whose lower layers are those of the first. The networks answer
/// together: the mean of their logits.
final class BilateralBranch: RecordedProcedure {
  static let method = Method.procedure(
    "bilateral_branch", aliases: ["bbn"], area: "imbalance",
    summary:
      "Two branches over common layers, for samples as they come and for rare classes; weight moves to the second.",
    reference: Reference(
      "Zhou et al.", 2020,
      "BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual Recognition",
      arXiv: "1912.02413"),
    parameters: [
      .integer("epochs", 200, in: 1 ... .max, "Epochs after which all weight is on the second branch."),
      .integer("branch_layers", 1, in: 1...10_000, "Layers of the description, from its end, that are a branch's own."),
    ], replaces: [.order, .objective], BilateralBranch.self)

  let arguments: Arguments
  let networkCount = 2
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    try requireTargetsAlone(loss)
  }

  func prepare(_ training: Training) throws(TemperError) { _ = try training.classIds(for: self) }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    if training.position.steps == 0 { try share(training) }
  }

  /// Of the first network into the second: all that is below the branches.
  private func share(_ training: Training) throws(TemperError) {
    let (from, to) = (training.networks[0], training.networks[1])
    for index in from.model.trained.indices where !isBranch(from.model, index) {
      try to.part(index, of: to.parameters).assign(from: try from.part(index, of: from.parameters))
    }
  }

  private func isBranch(_ model: Model, _ index: Int) -> Bool {
    let layer = model.trained[index].name.prefix { $0 != "." }
    return (Int(layer) ?? 0) >= model.description.layers.count - arguments.integer("branch_layers")
  }

  /// By turns a sample of a permutation and one drawn by class.
  func order(_ training: Training) throws(TemperError) -> [Int32] {
    let labels = Labels(try training.classIds(for: self))
    // P(class k) ~ 1 / n_k: a sample's own share is 1 / n_k^2.
    let shares = labels.places.map { power(Double(labels.sizes[$0]), -2) }
    var random = training.random("reversed draws").stream(training.position.epoch)
    let drawn = random.indices(training.sampleCount, inProportionTo: shares)
    return zip(try PlainProcedure().order(training), drawn).flatMap { [$0, Int32(truncatingIfNeeded: $1)] }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let alpha = step.number("alpha") { [arguments] in
      1 - power(min(Double($0.epoch - 1) / Double(arguments.integer("epochs")), 1), 2)
    }
    let pairs = step.count / 2
    guard pairs > 0 else { return try step.loss(of: try step.forward()).reduced(.mean) }
    func side(_ rows: Expression, _ which: Int) -> Expression {
      let own = Shape(Array(rows.shape.sizes.dropFirst()))
      return rows.slice(0..<2 * pairs).reshaped(Shape([pairs, 2] + own.sizes)).slice(which..<which + 1, axis: 1)
        .reshaped(Shape([pairs] + own.sizes))
    }
    let (x, y) = (try step.rows("x"), try step.rows("targets"))
    let model = step.training.networks[0].model
    let shared = step.parameters(0).enumerated().map { index, own in
      isBranch(model, index) ? step.parameters(1)[index] : own
    }
    let common = try step.forward(0, side(x, 0))
    let reversed = try step.forward(1, side(x, 1), parameters: shared)
    let mixed = alpha * common + (1 - alpha) * reversed
    let losses = [
      try step.loss(of: mixed, inputs: ["targets": side(y, 0)]),
      try step.loss(of: mixed, inputs: ["targets": side(y, 1)]),
    ]
    return alpha * losses[0].reduced(.mean) + (1 - alpha) * losses[1].reduced(.mean)
  }

  func epochDidEnd(_ training: Training) throws(TemperError) { try share(training) }
}
