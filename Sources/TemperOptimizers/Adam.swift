import Glibc
import TemperCatalogue
import TemperGraph

extension Optimizers {
  static let adaptiveMethods = [adam, adamW]

  static let adam = adaptive(
    "adam", "Steps scaled by running averages of the gradient and its square.",
    Reference("Kingma and Ba", 2015, "Adam: A Method for Stochastic Optimization", arXiv: "1412.6980"),
    .weightDecay(0, "This times the parameter is added to the gradient.")
  ) { (w: $0.parameter, g: $0.gradient + $0.real("weight_decay") * $0.parameter) }

  static let adamW = adaptive(
    "adamw", "Adam with weight decay beside the gradient instead of inside it.",
    Reference("Loshchilov and Hutter", 2019, "Decoupled Weight Decay Regularization", arXiv: "1711.05101"),
    .weightDecay(0.01, "The parameter shrinks by the learning rate times this.")
  ) { x in
    let decay = x.real("weight_decay")
    let kept = x.number("kept") { 1 - $0.learningRate * decay }
    return (w: decay == 0 ? x.parameter : kept * x.parameter, g: x.gradient)
  }

  /// m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, w <- w - lr m^ / (sqrt(v^) + eps) with m^ = m / (1 - b1^t) and
  /// v^ = v / (1 - b2^t); amsgrad takes the largest v^ so far (Reddi, Kale and Kumar, 2018).
  private static func adaptive(
    _ name: String, _ summary: String, _ reference: Reference, _ decay: Parameter,
    _ start: @escaping @Sendable (Update) -> (w: Expression, g: Expression)
  ) -> Method {
    Method(
      name, kind: .optimizer, area: "optim", summary: summary, reference: reference,
      parameters: [
        .learningRate(0.001),
        .real("beta1", 0.9, in: .belowOne, "How slowly the average of gradients moves."),
        .real("beta2", 0.999, in: .belowOne, "How slowly the average of squares moves."),
        .real("eps", 1e-8, in: .nonNegative, "Added to the root."),
        decay,
        .boolean("amsgrad", false, "Divide by the largest average so far."),
      ],
      properties: ["elementwise"],
      implementation: .update { x in
        let (w, g) = start(x)
        let (beta1, beta2) = (x.real("beta1"), x.real("beta2"))
        let m = beta1 * x.state("first_moment") + (1 - beta1) * g
        let v = beta2 * x.state("second_moment") + (1 - beta2) * square(g)
        x.set("first_moment", to: m)
        x.set("second_moment", to: v)
        var scale = v
        if x.boolean("amsgrad") {
          scale = maximum(x.state("largest_second_moment"), v)
          x.set("largest_second_moment", to: scale)
        }
        let size = x.number("step_size") { $0.learningRate / (1 - pow(beta1, Double($0.step))) }
        let root = x.number("root_correction") { 1 / (1 - pow(beta2, Double($0.step))).squareRoot() }
        return w - size * (m / (root * sqrt(scale) + x.real("eps")))
      })
  }
}
