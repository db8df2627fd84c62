import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Each sample has numbers u and v of its own that explain its label away where the network cannot.
/// SOP, Liu et al., 2022, arXiv 2202.14026.
///
///     s_i = u_i^2 y_i - v_i^2 (1 - y_i);  cross-entropy of p_i + u_i^2 y_i - sg(v_i^2) (1 - y_i), brought back to the
///     simplex, + |onehot(argmax p_i) + s_i - y_i|^2; u and v move by gradient descent of their own
final class OverParametrization: RecordedProcedure {
  static let method = Method.procedure(
    "sop", aliases: ["sparse_over_parametrization"], area: "noisy-labels",
    summary: "Numbers of its own for each sample explain its label away where the network cannot.",
    reference: Reference(
      "Liu et al.", 2022, "Robust Training under Label Noise by Over-parameterization", arXiv: "2202.14026"),
    parameters: [
      .real("lr_u", 10, in: .nonNegative, "The learning rate of u."),
      .real("lr_v", 10, in: .nonNegative, "The learning rate of v."),
      .real("init", 1e-8, in: .nonNegative, "The standard deviation that u and v begin with."),
    ],
    state: [
      SampleState("u", [], "Explains the label that was given."),
      SampleState("v", ["C"], "Explains the classes that were not."),
    ], replaces: [.objective], OverParametrization.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireCrossEntropy(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    let scale = arguments.real("init")
    try keepState(training)
    for name in ["u", "v"] {
      let tensor = try training.kept(name)
      var random = training.random("sop").stream(name)
      let values = (0..<tensor.count).map { _ in scale * random.normal() }
      try tensor.assign(from: try Tensor(values, shape: tensor.shape))
    }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let logits = try step.forward()
    let (u, v, y) = (try step.rows("u"), try step.rows("v"), try step.targetProbabilities(logits.shape.last))
    let (up, down) = (clamp(square(u) * y, 0, 1), clamp(square(v) * (1 - y), 0, 1))
    let shifted = maximum(logits.softmax() + up - down.stopGradient, 1e-4)
    let explained = maximum(shifted / shifted.sum(), 1e-4)
    let fit = -(y * log(explained)).sum().meanAll()
    let chosen = Expression.oneHot(logits.argmax(), columns: logits.shape.last).stopGradient
    let objective = fit + square(chosen + up - down - y).sum().meanAll()
    let slopes = try Differentiate.gradients(of: objective, withRespectTo: [u, v])
    try step.update("u", to: u - arguments.real("lr_u") * slopes[0])
    try step.update("v", to: v - arguments.real("lr_v") * slopes[1])
    return objective
  }
}
