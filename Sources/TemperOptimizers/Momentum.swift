import TemperCatalogue
import TemperGraph

extension Optimizers {
  static let momentumMethods = [stochasticGradientDescent]

  /// g' = g + wd w; b <- mu b + (1 - dampening) g', at the first step b = g'; w <- w - lr d with d = b, or g' + mu b
  /// for Nesterov's form (Sutskever et al., 2013).
  static let stochasticGradientDescent = Method(
    "sgd", kind: .optimizer, area: "optim", summary: "Gradient descent, with momentum if wanted.",
    reference: Reference(
      "Sutskever, Martens, Dahl and Hinton", 2013,
      "On the importance of initialization and momentum in deep learning"),
    parameters: [
      .learningRate(0.01),
      .real("momentum", 0, in: .belowOne, "How much of the last direction is kept."),
      .real("dampening", 0, in: .unit, "How much of the gradient is left out of the direction."),
      .boolean("nesterov", false, "Look ahead along the direction."),
      .weightDecay(0, "This times the parameter is added to the gradient."),
    ],
    properties: ["elementwise"],
    implementation: .update { x in
      let (w, mu) = (x.parameter, x.real("momentum"))
      let g = x.gradient + x.real("weight_decay") * w
      if mu == 0 { return w - x.learningRate * g }
      let dampening = x.real("dampening")
      let share = x.number("gradient_share") { $0.step == 1 ? 1 : 1 - dampening }
      let b = mu * x.state("momentum") + share * g
      x.set("momentum", to: b)
      return w - x.learningRate * (x.boolean("nesterov") ? g + mu * b : b)
    })
}
