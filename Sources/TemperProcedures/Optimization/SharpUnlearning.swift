import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Forgetting that later fine-tuning does not undo: the loss of forgetting is taken where a small move of the weights makes
/// it largest, that of the data, which are to be retained, where the weights are.
///
///     min over w of max over |d| <= rho of F(w + d) + gamma R(w)
///
/// F of the samples to forget, with l their losses and l0 those at the beginning: "npo" (2 / b) mean softplus(-b (l - l0)),
/// "simnpo" (2 / b) mean softplus(-(b l - margin)), "ascent" -mean l. Other ways to make F smooth: its mean under noise, a
/// penalty on its gradient's length, or on the gradient's change along itself.
final class SharpUnlearning: RecordedProcedure {
  static let method = Method.procedure(
    "sam_unlearning", area: "optim",
    summary: "Forgets given samples so that fine-tuning on some of them does not bring them back.",
    reference: Reference(
      title:
        "Towards LLM Unlearning Resilient to Relearning Attacks: A Sharpness-Aware Minimization Perspective and Beyond",
      arXiv: "2502.05374"),
    parameters: [
      .real("rho", 0.01, in: .nonNegative, "How far the weights are moved; of a penalty, its weight."),
      .real("npo_beta", 0.1, in: .positive, "b: small values are gradient ascent."),
      .real("gamma", 1, in: .nonNegative, "The weight of what is retained."),
      .choice("forget_loss", ["npo", "simnpo", "ascent"], "F."),
      .real("margin", 0, "Of simnpo."),
      .choice("smoothing", ["sam", "none", "noise", "gradient_penalty", "curvature"], "How F is made smooth."),
      .real("rs_sigma", 0.01, in: .nonNegative, "The standard deviation of the noise."),
      .integer("draws", 3, in: 1...64, "Of the noise in a step."),
      .real("mu", 0.01, in: .positive, "The length along which the gradient's change is taken."),
    ],
    inputs: [
      Input("forget_x", [.init(["M", "..."])], "Samples to forget; all are looked at in every step."),
      Input("forget_y", [.init(["M"], .index(below: "C"))], "Their class ids."),
    ], replaces: [.objective], SharpUnlearning.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    try requireTargetsAlone(loss)
  }

  func prepare(_ training: Training) throws(TemperError) {
    guard let samples = training.samples.whole["forget_x"] else {
      throw TemperError(.internalFault, "There is no forget_x.")
    }
    try training.keep("beginning", [samples.tensor.shape[0], 1])
    try training.keep("has begun")
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let (x, y) = (try step.wholeSamples("forget_x"), try step.whole("forget_y"))
    func losses(_ parameters: [Expression]) throws(TemperError) -> Expression {
      try step.loss(of: try step.forward(0, x, parameters: parameters), inputs: ["targets": y]).values
    }
    let parameters = step.parameters()
    let here = try losses(parameters)
    let beginning = Expression.select(try step.whole("has begun"), try step.whole("beginning"), here.stopGradient)
      .stopGradient
    try step.update("beginning", to: beginning)
    try step.update("has begun", to: .constant(1))
    let whole = forgetting(here, beginning)
    let forget: Expression
    switch arguments.text("smoothing") {
    case "none": forget = whole
    case "noise":
      let sigma = arguments.real("rs_sigma")
      var sum = Expression.constant(0)
      for _ in 0..<arguments.integer("draws") {
        sum = sum + forgetting(try losses(parameters.map { $0 + sigma * step.normal($0.shape) }), beginning)
      }
      forget = sum / Double(arguments.integer("draws"))
    default:
      let slope = try Differentiate.gradients(of: whole, withRespectTo: parameters)
      switch arguments.text("smoothing") {
      case "gradient_penalty":
        forget = whole + arguments.real("rho") * ParameterVector.norm(slope, eps: 1e-24)
      case "curvature":
        let ahead = ParameterVector.shifted(parameters, along: slope, by: arguments.real("mu"))
        let there = try Differentiate.gradients(
          of: forgetting(try losses(ahead), beginning), withRespectTo: parameters)
        forget =
          whole + arguments.real("rho") * ParameterVector.norm(zip(there, slope).map { $0 - $1 }, eps: 1e-24)
      default:
        let shifted = ParameterVector.shifted(parameters, along: slope, by: arguments.real("rho"))
        forget = forgetting(try losses(shifted), beginning)
      }
    }
    let retain = try step.loss(of: try step.forward()).reduced(.mean).reshaped([])
    return forget + arguments.real("gamma") * retain
  }

  private func forgetting(_ losses: Expression, _ beginning: Expression) -> Expression {
    let b = arguments.real("npo_beta")
    let mean =
      switch arguments.text("forget_loss") {
      case "ascent": -losses.meanAll()
      case "simnpo": softplus(arguments.real("margin") - b * losses).meanAll() * (2 / b)
      default: softplus(-b * (losses - beginning)).meanAll() * (2 / b)
      }
    return mean.reshaped([])
  }
}
