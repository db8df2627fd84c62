import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Which rows are the same thing, without labels: an encoder learns to know a row again in altered form, also when its
/// embedding is pushed the worst way; rows alike enough are matched, and groups come from the matches.
///
///     NT-Xent(z, z') + adv_weight NT-Xent(u + eps G / |G|, u' + eps G' / |G'|),  u = z / |z|, G the slope by u
///     matched: cos >= threshold, among the blocking_k nearest; the threshold has the best F1 on rows with their altered
///     forms against four times as many pairs of any two rows
///
/// `views` bring altered forms (a cell dropped, columns swapped, a typo), of which each epoch takes one by turns. Groups are
/// made after the last epoch of a call. The trainer's loss is not asked. Robust table integration; Chen et al., 2020, for the contrast.
final class PairwiseMatch: RecordedProcedure {
  static let method = Method.procedure(
    "pairwise_match_then_community", area: "data",
    summary: "Learns from altered copies of rows which rows are the same thing, and groups them.",
    reference: Reference(title: "Robust Table Integration in Data Lakes"),
    parameters: [
      .real("temperature", 0.1, in: .positive, "Of the contrast."),
      .real("eps", 0.1, in: .nonNegative, "How far embeddings of length 1 are pushed."),
      .real("adv_weight", 1, in: .nonNegative, "The weight of the pushed ones."),
      .optionalReal("threshold", in: Interval(-1, 1), "The cosine from which rows match; none: by F1."),
      .integer("blocking_k", 20, in: 1...1_000_000, "Nearest rows that may match."),
      .choice(
        "grouping", ["louvain", "components", "label_propagation", "pivot"], "How matches become groups."),
    ],
    inputs: [
      Input("views", [.init(["N", "V", "..."])], isDifferentiable: false, "Altered forms of each row, like x.")
    ],
    state: [SampleState("group", [], initial: -1, "The number of the row's group.")],
    replaces: [.objective], PairwiseMatch.self)

  let arguments: Arguments
  /// Altered forms of a row.
  private var count = 1
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    guard model.input.kind == .real, model.output.rank == 1 else {
      throw TemperError(.unsupported, "It needs a model that makes one embedding of each row of numbers.")
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    try keepState(training)
    try training.keep("threshold", initial: arguments.optionalReal("threshold") ?? 0)
    let x = training.inputShape
    guard let views = training.samples.rows["views"]?.tensor, views.count % x.count == 0,
      1...64 ~= views.count / x.count
    else {
      throw TemperError(
        .invalidShape, "views must be (N, V, …), V altered forms, 64 at most, of each row of the shape of x.")
    }
    count = views.count / x.count
  }

  /// One for each of the altered forms.
  func phase(_ position: Position) -> Int { (position.epoch - 1) % count }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let (x, t) = (try step.rows("x"), arguments.real("temperature"))
    let all = try step.rows("views").reshaped([step.count, count, x.shape.count / step.count])
    let altered = all.slice(step.phase..<step.phase + 1, axis: 1).reshaped(x.shape)
    let (a, b) = (try step.forward(0, x).unitRows, try step.forward(0, altered).unitRows)
    let clean = Expression.contrast(a, b, temperature: t)
    let (eps, weight) = (arguments.real("eps"), arguments.real("adv_weight"))
    guard eps > 0, weight > 0 else { return (1 + weight) * clean }
    // Slopes by embeddings alone: of the same contrast of copies.
    let (freeA, freeB) = (a.stopGradient, b.stopGradient)
    let slopes = try Differentiate.gradients(
      of: Expression.contrast(freeA, freeB, temperature: t), withRespectTo: [freeA, freeB])
    let pushed = zip([a, b], slopes).map { $0 + eps * $1.unitRows.stopGradient }
    return clean + weight * .contrast(pushed[0], pushed[1], temperature: t)
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    guard training.position.epoch == training.position.epochs,
      let views = training.samples.rows["views"]?.tensor
    else { return }
    let z = try unit(Matrix(training.view().outputs))
    let x = training.inputShape
    let first = try views.reshaped([z.rows, count, x.count / z.rows]).slice(0..<1, axis: 1).dense()
    let altered = try unit(Matrix(training.view(of: try first.reshaped(x)).outputs))
    func likeness(_ a: ArraySlice<Double>, _ b: ArraySlice<Double>) -> Double {
      zip(a, b).reduce(0) { $0 + $1.0 * $1.1 }
    }
    let threshold = try training.kept("threshold")
    if arguments.optionalReal("threshold") == nil, z.rows > 1 {
      let same = (0..<z.rows).map { likeness(z[$0], altered[$0]) }
      var random = training.random("pairs").stream(training.position.epoch)
      let other = (0..<4 * z.rows).map { at in
        likeness(z[at / 4], z[(at / 4 + 1 + random.below(z.rows - 1)) % z.rows])
      }
      try threshold.fill(PairwiseMatch.best(same, other))
    }
    let bound = try threshold.array(of: Double.self)[0]
    var edges: [(Int, Int)] = []
    if z.rows > 1 {
      let near = try Neighbours(
        of: z, among: z, count: min(arguments.integer("blocking_k"), z.rows - 1), isSame: true,
        workers: training.workers)
      for row in 0..<z.rows {
        for id in near[row] where likeness(z[row], z[Int(id)]) >= bound { edges.append((row, Int(id))) }
      }
    }
    let random = training.random("groups")
    let groups =
      switch arguments.text("grouping") {
      case "components": Communities.components(z.rows, edges)
      case "label_propagation": Communities.labelPropagation(z.rows, edges, random)
      case "pivot": Communities.pivot(z.rows, edges, random)
      default: Communities.louvain(z.rows, edges, random)
      }
    try training.kept("group").assign(from: try Tensor(groups.map(Double.init), shape: [z.rows, 1]))
  }

  private func unit(_ rows: Matrix) -> Matrix {
    var result = rows
    for row in 0..<rows.rows {
      let length = max(rows[row].reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-12)
      for column in 0..<rows.columns { result[row, column] /= length }
    }
    return result
  }

  /// The smallest cosine at which pairs that are the same have the best F1 against those that are not.
  private static func best(_ same: [Double], _ other: [Double]) -> Double {
    let (a, b) = (ascending(same), ascending(other))
    var (found, at) = ((score: -1.0, cosine: 1.0), 0)
    for (place, cosine) in a.enumerated() {
      while at < b.count, b[at] < cosine { at += 1 }
      let right = Double(a.count - place)
      let score = 2 * right / (right + Double(b.count - at) + Double(a.count))
      if score > found.score { found = (score, cosine) }
    }
    return found.cosine
  }
}
