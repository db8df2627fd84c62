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
    ], replaces: [.objective], SurrogateSharpness.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func prepare(_ training: Training) throws(TemperError) {
    try training.keep("multiplier", initial: arguments.real("lambda0"))
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
}
