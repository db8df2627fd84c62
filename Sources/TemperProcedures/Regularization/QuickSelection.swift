import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// A sparse denoising auto-encoder whose connections evolve: informative inputs keep strong ones. The strength of input i,
/// the sum of |w| over its connections in the first matrix, ranks the features (`quick_selection_strength`).
///
/// Pass x as both data and targets. Connections begin as a random graph with eps (n_in + n_out) / (n_in n_out) of all;
/// after every epoch but the last the share zeta of the positive and of the negative weights nearest 0 goes, and as many
/// come anywhere, small and at random.
final class QuickSelection: RecordedProcedure {
  static let method = Method.procedure(
    "quick_selection", area: "regularize",
    summary: "Ranks features by the strength of their connections in a sparse denoising auto-encoder.",
    reference: Reference(
      "Atashgahi et al.", 2022,
      "Quick and Robust Feature Selection: the Strength of Energy-efficient Sparse Training for Autoencoders",
      arXiv: "2012.00560"),
    parameters: [
      .real("eps", 13, in: .positive, "How dense the graph is."),
      .real("zeta", 0.2, in: .unit, "The share of connections that moves after an epoch."),
      .real("noise_factor", 0.2, in: .nonNegative, "The standard deviation of the noise on the inputs."),
    ], replaces: [.objective], QuickSelection.self)

  let arguments: Arguments
  private let matrices = SparseMatrices(keepsMomentum: false)
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    guard model.input.kind == .real, model.output.count == model.input.shape.count else {
      throw TemperError(
        .unsupported, "An auto-encoder's output is like its input \(model.input.shape); this has \(model.output).")
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    let counts = matrices.shapes(training).map { shape in
      let (outer, inner) = (shape[0], shape.sizes.dropFirst().reduce(1, *))
      let share = min(1, arguments.real("eps") * Double(outer + inner) / Double(max(outer * inner, 1)))
      return max(1, Int((share * Double(shape.count)).rounded()))
    }
    try matrices.prepare(training, counts: counts)
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let x = try step.rows("x")
    let noise = arguments.real("noise_factor")
    let seen = noise == 0 ? x : x + noise * step.normal(x.shape)
    return try step.loss(of: try step.forward(0, seen)).reduced(.mean)
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    if training.position.epoch == 1 { try matrices.apply(training) }
  }

  func stepDidEnd(_ training: Training) throws(TemperError) { try matrices.apply(training) }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    guard training.position.epoch < training.position.epochs else { return }
    for (index, shape) in matrices.shapes(training).enumerated() {
      let mask = try matrices.mask(training, index)
      let weights = try matrices.weights(training, index).array(of: Double.self)
      let active = mask.indices.filter { mask[$0] != 0 }
      guard active.count < mask.count else { continue }
      var removed: [Int] = []
      for isPositive in [true, false] {
        let side = active.filter { (weights[$0] > 0) == isPositive }
        let count = Int(arguments.real("zeta") * Double(side.count))
        removed += DynamicSparseTraining.first(count, of: side) { abs(weights[$0]) }
      }
      var random = training.random("growth").stream(training.position.epoch).stream(index)
      let empty = mask.indices.filter { mask[$0] == 0 }
      let scale = 0.1 / Double(shape.sizes.dropFirst().reduce(1, *)).squareRoot()
      let places = random.permutation(empty.count).prefix(removed.count).map { empty[$0] }
      var grown = places.map { (place: $0, value: scale * (2 * random.uniform() - 1)) }
      // More went than there were empty places: some stay.
      let gone = Array(removed.prefix(places.count))
      grown = Array(grown.prefix(gone.count))
      try matrices.replace(training, index, removed: gone, grown: grown)
    }
  }
}
