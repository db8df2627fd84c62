import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// A model whose mean output m hardly moves when its weights do: the largest change within a distance rho, to first order
/// rho |v| with v = dm/dw, is kept below eps by a multiplier.
///
///     step on loss + lam (rho / r) (m(w + r v / |v|) - m(w)), whose gradient is a finite difference of lam rho d|v|/dw
///     lam <- max(0, lam + eta_lambda (rho |v| - eps)); "ignite2" keeps lam
///
/// With several outputs m is that of the first one: the predicted mean.
///
/// After the last epoch the search for inputs of a large value: from the samples with the largest targets, so many steps
/// x <- x + a dg/dx, a = solver_lr sqrt(inputs), in units of the data's deviations of x and y. Where it arrives is kept
/// as "found". It needs a number for each sample as targets; otherwise there is none.
final class SurrogateSharpness: RecordedProcedure {
  static let method = Method.procedure(
    "ignite_surrogate_sharpness", area: "optim",
    summary: "Fits a surrogate whose predictions are insensitive to small changes of its weights.",
    reference: Reference(title: "Incorporating Surrogate Gradient Norm to Improve Offline Optimization Techniques"),
    parameters: [
      .real("lambda0", 0.001, in: .nonNegative, "Where the multiplier begins."),
      .real("rho", 0.05, in: .nonNegative, "How far weights are thought to move."),
      .real("r", 0.05, in: .positive, "The length of the finite difference."),
      .real("eps", 0.001, in: .nonNegative, "How far the mean output may then move."),
      .real("eta_lambda", 0.001, in: .nonNegative, "The step of the multiplier."),
      .choice("variant", ["ignite", "ignite2"], "A multiplier that follows the constraint, or a fixed one."),
      .integer("candidates", 128, in: 1...65_536, "Samples of the largest targets, from which the search sets out."),
      .integer("search_steps", 200, in: 0...1_000_000, "Of the search; 0: none."),
      .real("solver_lr", 0.01, in: .nonNegative, "Of the search, times the root of the number of inputs."),
    ], replaces: [.objective], SurrogateSharpness.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func prepare(_ training: Training) throws(TemperError) {
    try training.keep("multiplier", initial: arguments.real("lambda0"))
    guard SurrogateSharpness.values(training) != nil, arguments.integer("search_steps") > 0 else { return }
    let count = min(arguments.integer("candidates"), training.sampleCount)
    try training.keep("found", Shape([count] + training.networks[0].model.input.shape.sizes))
  }

  /// The targets, where each sample has one number.
  private static func values(_ training: Training) -> Tensor? {
    guard training.networks[0].model.input.kind == .real, let targets = training.samples.rows["targets"],
      targets.kind == .real, targets.tensor.count == training.sampleCount
    else { return nil }
    return targets.tensor
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    func mean(_ output: Expression) -> Expression {
      output.reshaped([step.count, output.shape.count / step.count]).slice(0..<1, axis: 1).meanAll().reshaped([])
    }
    let (rho, r) = (arguments.real("rho"), arguments.real("r"))
    let output = try step.forward()
    let parameters = step.parameters()
    let slope = try Differentiate.gradients(of: mean(output), withRespectTo: parameters)
    let size = ParameterVector.norm(slope).stopGradient
    let shifted = ParameterVector.shifted(parameters, along: slope, by: r)
    let change = (mean(try step.forward(parameters: shifted)) - mean(output)) * (rho / r)
    let multiplier = try step.whole("multiplier")
    if arguments.text("variant") == "ignite" {
      let moved = multiplier + arguments.real("eta_lambda") * (rho * size - arguments.real("eps"))
      try step.update("multiplier", to: maximum(moved, 0))
    }
    // Its value is lam rho |v|, its gradient that of the difference.
    return try step.loss(of: output).reduced(.mean).reshaped([])
      + multiplier * (change - change.stopGradient + rho * size)
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    let steps = arguments.integer("search_steps")
    guard training.position.epoch == training.position.epochs, steps > 0,
      let y = try SurrogateSharpness.values(training)?.array(of: Double.self)
    else { return }
    let found = try training.kept("found")
    let (model, count) = (training.networks[0].model, found.shape[0])
    let width = model.input.shape.count
    let rows = try training.inputs(0..<training.sampleCount).array(of: Double.self)
    let rate = arguments.real("solver_lr") * Double(width).squareRoot() / SurrogateSharpness.deviation(y)
    let scales = (0..<width).map { column in
      let deviation = SurrogateSharpness.deviation((0..<y.count).map { rows[$0 * width + column] })
      return rate * deviation * deviation
    }
    let best = ascendingOrder(y.map { -$0 }).prefix(count)
    var points = best.flatMap { rows[$0 * width..<($0 + 1) * width] }
    let outputs = model.output.count
    let slope = try Tensor(
      (0..<count * outputs).map { $0 % outputs == 0 ? 1.0 : 0 }, shape: Shape([count] + model.output.sizes))
    let gradient = try Tensor(zeros: found.shape, found.dtype)
    for _ in 0..<steps {
      try model.vectorJacobianProduct(
        try Tensor(points, shape: found.shape), dy: slope, into: [("x", gradient)], workers: training.workers)
      let up = try gradient.array(of: Double.self)
      for place in points.indices { points[place] += scales[place % width] * up[place] }
    }
    try found.assign(from: try Tensor(points, shape: found.shape))
  }

  /// Of the numbers from their mean; 1 where they are all the same.
  private static func deviation(_ values: [Double]) -> Double {
    let count = Double(max(values.count, 1))
    let mean = values.reduce(0, +) / count
    let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count
    return variance > 0 ? variance.squareRoot() : 1
  }
}
