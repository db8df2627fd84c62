import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Training of sparse matrices whose connections move: every few batches those with the smallest weights go and as many
/// come, at places that are chosen at random or by the gradient or the momentum there. The share that moves falls from
/// death_rate to death_rate_min along a cosine. Vectors and normalization layers stay dense.
///
/// Densities are the same for all matrices, or by Erdos, Renyi and kernel: proportional to the sum of the sizes of a
/// matrix over their product, at most 1, so that the whole has the density wanted. Evci et al., 2020, arXiv 1911.11134.
///
/// Several tasks come one after the other, each with epochs_per_task epochs, connections of its own and a loss over its
/// own classes; what it used does not change any more (`TaskIsolation`).
final class DynamicSparseTraining: RecordedProcedure {
  static let method = Method.procedure(
    "dynamic_sparse_training", area: "regularize",
    summary: "Trains sparse matrices whose connections move to where they are needed.",
    reference: Reference(
      "Yildirim et al.", 2023,
      "Continual Learning with Dynamic Sparse Training: Exploring Algorithms for Effective Model Updates",
      arXiv: "2308.14831"),
    parameters: [
      .real("density", 0.2, in: Interval(0, 1, includesLower: false), "The share of the weights that is there."),
      .choice("init", ["erk", "uniform"], "How it is shared out among the matrices."),
      .choice("growth", ["random", "random_unfired", "momentum", "gradient"], "Where connections come."),
      .real("death_rate", 0.5, in: .unit, "The share that moves at first."),
      .real("death_rate_min", 0.005, in: .unit, "And in the end."),
      .integer("update_every_batches", 400, in: 1 ... .max, "Batches from one move to the next."),
      .integer("tasks", 1, in: 1...1024, "Tasks that are learned one after the other."),
      .integer("epochs_per_task", 100, in: 1...1_000_000, "Epochs of each of several tasks."),
    ],
    inputs: [
      Input("task", [.init(["N"])], isOptional: true, "The task of each sample, from 0, where there are several.")
    ], DynamicSparseTraining.self)

  let arguments: Arguments
  private let matrices: SparseMatrices
  private let isolation: TaskIsolation?

  init(_ arguments: Arguments) {
    self.arguments = arguments
    matrices = SparseMatrices(keepsMomentum: arguments.text("growth") == "momentum")
    let tasks = arguments.integer("tasks")
    isolation =
      tasks == 1
      ? nil
      : TaskIsolation(tasks: tasks, epochsPerTask: arguments.integer("epochs_per_task"), matrices: matrices)
  }

  var replaces: Set<Replaced> { isolation == nil ? [] : [.order, .objective] }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    if isolation != nil { try requireCrossEntropy(model, loss) }
    guard model.trained.contains(where: { $0.shape.rank > 1 }) else {
      throw TemperError(.unsupported, "The model has no matrix whose connections could be sparse.")
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    let shapes = matrices.shapes(training)
    let density = arguments.real("density")
    let shares =
      arguments.text("init") == "uniform"
      ? shapes.map { _ in density } : DynamicSparseTraining.erk(shapes, density)
    try matrices.prepare(
      training, counts: zip(shapes, shares).map { max(1, Int((Double($0.count) * $1).rounded())) })
    for (index, shape) in shapes.enumerated() {
      try training.keep("fired\(index)", shape).assign(from: try training.kept("mask\(index)"))
    }
    if let isolation { try isolation.prepare(training, classes: try training.classIds(for: self)) }
  }

  /// min(1, e sum of sizes / product of sizes), with e such that the densities make up the whole; those at 1 stay there
  /// while the others are found again.
  static func erk(_ shapes: [Shape], _ density: Double) -> [Double] {
    let raw = shapes.map { Double($0.sizes.reduce(0, +)) / Double(max($0.count, 1)) }
    let wanted = density * shapes.reduce(0) { $0 + Double($1.count) }
    var full = Set<Int>()
    while true {
      let open = shapes.indices.filter { !full.contains($0) }
      let left = wanted - full.reduce(0) { $0 + Double(shapes[$1].count) }
      let e = left / max(open.reduce(0) { $0 + raw[$1] * Double(shapes[$1].count) }, 1e-300)
      let over = open.filter { e * raw[$0] > 1 }
      if over.isEmpty { return shapes.indices.map { full.contains($0) ? 1 : e * raw[$0] } }
      full.formUnion(over)
    }
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    if let isolation { return try isolation.beginEpoch(training) }
    if training.position.epoch == 1 { try matrices.apply(training) }
  }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    if let isolation { return try isolation.order(training) }
    var random = training.random("shuffle").stream(training.position.epoch)
    return random.permutation(training.sampleCount).map(Int32.init(truncatingIfNeeded:))
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let output = try step.forward()
    return try step.loss(of: try isolation?.logits(step, output) ?? output).reduced(.mean)
  }

  func stepDidEnd(_ training: Training) throws(TemperError) {
    let position = training.position
    let total = Double(max(position.epochs * position.stepsPerEpoch, 1))
    let progress = isolation?.progress(position) ?? Double(position.steps) / total
    if position.steps % arguments.integer("update_every_batches") == 0, progress < 1 {
      let (first, last) = (arguments.real("death_rate"), arguments.real("death_rate_min"))
      let turn = 0.5 * (1 + cos(Double.pi * progress))
      for index in matrices.shapes(training).indices { try move(training, index, last + (first - last) * turn) }
    }
    try isolation?.restore(training)
    try matrices.apply(training)
  }

  func epochDidEnd(_ training: Training) throws(TemperError) { try isolation?.endEpoch(training) }

  private func move(_ training: Training, _ index: Int, _ rate: Double) throws(TemperError) {
    let mask = try matrices.mask(training, index)
    let weights = try matrices.weights(training, index).array(of: Double.self)
    let active = mask.indices.filter { mask[$0] != 0 }
    let count = Int((rate * Double(active.count)).rounded(.up))
    // A full matrix has no other place for a connection.
    guard count > 0, active.count < mask.count else { return }
    let removed = DynamicSparseTraining.first(count, of: active) { abs(weights[$0]) }
    let gone = Set(removed)
    let empty = mask.indices.filter { mask[$0] == 0 || gone.contains($0) }
    let grown = try places(training, index, count, among: empty)
    let begun = try isolation?.beginnings(training, index, grown) ?? grown.map { ($0, 0) }
    try matrices.replace(training, index, removed: removed, grown: begun)
    var fired = try training.kept("fired\(index)").array(of: Double.self)
    for place in grown { fired[place] = 1 }
    try training.kept("fired\(index)").assign(
      from: try Tensor(fired, shape: try training.kept("fired\(index)").shape))
  }

  private func places(
    _ training: Training, _ index: Int, _ count: Int, among empty: [Int]
  ) throws(TemperError) -> [Int] {
    var random = training.random("growth").stream(training.position.steps).stream(index)
    let shuffled = random.permutation(empty.count).map { empty[$0] }
    switch arguments.text("growth") {
    case "gradient":
      let gradient = try matrices.gradient(training, index)
      return DynamicSparseTraining.first(count, of: empty) { -abs(gradient[$0]) }
    case "momentum":
      let states = try matrices.states(training, index)
      func values(_ name: String) throws(TemperError) -> [Double]? {
        try states.first { $0.name == name }?.tensor.array(of: Double.self)
      }
      if let first = try values("first_moment"), let second = try values("second_moment") {
        return DynamicSparseTraining.first(count, of: empty) { -abs(first[$0] / (second[$0].squareRoot() + 1e-8)) }
      }
      guard let momentum = try values("momentum") else {
        throw TemperError(
          .unsupported, "Growth by momentum needs an optimizer that keeps one: adam, or sgd with momentum.",
          origin: name)
      }
      return DynamicSparseTraining.first(count, of: empty) { -abs(momentum[$0]) }
    case "random_unfired":
      let fired = try training.kept("fired\(index)").array(of: Double.self)
      return Array((shuffled.filter { fired[$0] == 0 } + shuffled.filter { fired[$0] != 0 }).prefix(count))
    default: return Array(shuffled.prefix(count))
    }
  }

  /// The places with the smallest keys; of equal ones the earlier.
  static func first(_ count: Int, of places: [Int], by key: (Int) -> Double) -> [Int] {
    var keyed: [(key: Double, place: Int)] = []
    for place in places { keyed.append((key(place), place)) }
    keyed.sort { ($0.key, $0.place) < ($1.key, $1.place) }
    return keyed.prefix(count).map(\.place)
  }
}
