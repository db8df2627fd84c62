import TemperCatalogue
import TemperCore
import TemperGraph
import TemperTraining

extension Expression {
  /// Rows of Euclidean length 1; a row of zeros stays.
  var unitRows: Expression { self / sqrt(TemperGraph.maximum(square(self).sum(), 1e-24)) }

  /// NT-Xent of two views (B, D): of each row of one, how well its partner in the other stands out among all 2B - 1 other
  /// rows. Chen et al., 2020, arXiv 2002.05709.
  ///
  ///     mean_i -log (exp(z_i . z_i+ / t) / sum_{j != i} exp(z_i . z_j / t)),  z of length 1
  static func contrast(_ a: Expression, _ b: Expression, temperature: Double) -> Expression {
    let z = Expression.concatenate([a, b]).unitRows
    let (count, shape) = (Double(a.shape[0]), Shape([z.shape[0], z.shape[0]]))
    let (row, column) = (Expression.iota(shape, axis: 0), Expression.iota(shape, axis: 1))
    let likeness = Expression.matmul(z, z, transposeB: true) / temperature
    let shares = Expression.select(row .== column, .constant(-1e30), likeness).logSoftmax()
    let isPartner = abs(row - column) .== count
    return -Expression.select(isPartner, shares, .constant(0)).sum().meanAll()
  }
}

/// Learning without labels: a network tells noisy views of each sample from those of the others, by NT-Xent of what two
/// layers of the stage's own make of its features. Without those layers features themselves would become few and small.
struct ContrastiveStage {
  static let parameters: [Parameter] = [
    .integer("projection", 64, in: 1...65536, "The width of the two layers that the contrast is taken through."),
    .real("projection_lr", 0.001, in: .nonNegative, "Their learning rate, by Adam."),
  ]

  private let side: SideNetwork
  private let rate: Double

  /// For features of this width; each network has a name of its own.
  init(_ arguments: Arguments, width: Int, name: String = "projection") {
    let size = arguments.integer("projection")
    (side, rate) = (SideNetwork(name, widths: [width, size, size]), arguments.real("projection_lr"))
  }

  func prepare(_ training: Training) throws(TemperError) { try side.prepare(training) }

  func objective(
    _ step: StepGraph, _ network: Int = 0, noise: Double, temperature: Double
  ) throws(TemperError) -> Expression {
    let (x, parameters) = (try step.rows("x"), try side.parameters(step))
    var views: [Expression] = []
    for _ in 0..<2 {
      let features = try step.flatFeatures(of: try step.forward(network, step.noisy(x, noise)))
      views.append(side.outputs(features, parameters))
    }
    let objective = Expression.contrast(views[0], views[1], temperature: temperature)
    try side.moved(step, by: try Differentiate.gradients(of: objective, withRespectTo: parameters), rate: rate)
    return objective
  }
}
