import Glibc
import TemperCatalogue
import TemperGraph

extension Optimizers {
  static let adamMethods = [adam, adamW, amsgrad, adamax, nadam, radam]

  private static let kingmaAndBa = Reference(
    "Kingma and Ba", 2015, "Adam: A Method for Stochastic Optimization", arXiv: "1412.6980")

  static let adam = adaptive(
    "adam", "Steps scaled by running averages of the gradient and its square.", kingmaAndBa,
    [.weightDecay(), .decoupled, .largest(false)]
  ) { $0.boolean("decoupled_weight_decay") }

  static let adamW = adaptive(
    "adamw", "Adam with weight decay beside the gradient instead of inside it.",
    Reference("Loshchilov and Hutter", 2019, "Decoupled Weight Decay Regularization", arXiv: "1711.05101"),
    [.weightDecay(0.01, decoupled: true), .largest(false)]
  ) { _ in true }

  static let amsgrad = adaptive(
    "amsgrad", "Adam that divides by the largest average of squares so far.",
    Reference("Reddi, Kale and Kumar", 2018, "On the Convergence of Adam and Beyond", arXiv: "1904.09237"),
    [.weightDecay(), .decoupled, .largest(true)]
  ) { $0.boolean("decoupled_weight_decay") }

  /// m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, w <- w - lr m^ / (sqrt(v^) + eps) with m^ = m / (1 - b1^t) and
  /// v^ = v / (1 - b2^t); amsgrad takes the largest v so far.
  private static func adaptive(
    _ name: String, _ summary: String, _ reference: Reference, _ own: [Parameter],
    _ isDecoupled: @escaping @Sendable (Update) -> Bool
  ) -> Method {
    .optimizer(
      name, summary, reference, [.learningRate(0.001)] + Parameter.betas() + [.eps(1e-8)] + own + [.maximize],
      isDecoupled: name == "adamw"
    ) { x in
      let (w, g) = x.decayed(x.slope, isDecoupled: isDecoupled(x))
      let m = x.average("first_moment", of: g, "beta1")
      var v = x.average("second_moment", of: square(g), "beta2")
      if x.boolean("amsgrad") {
        v = maximum(x.state("largest_second_moment"), v)
        x.set("largest_second_moment", to: v)
      }
      return w - x.adamStep(m, v)
    }
  }

  /// u <- max(b2 u, |g| + eps); w <- w - lr / (1 - b1^t) m / u.
  static let adamax = Method.optimizer(
    "adamax", "Adam with the largest gradient in place of the root mean square.", kingmaAndBa,
    [.learningRate(0.002)] + Parameter.betas() + [.eps(1e-8), .weightDecay(), .maximize]
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: false)
    let m = x.average("first_moment", of: g, "beta1")
    let u = maximum(x.moving("beta2") * x.state("largest_gradient"), abs(g) + x.real("eps"))
    x.set("largest_gradient", to: u)
    return w - x.firstStepSize * (m / u)
  }

  /// w <- w - lr ((1 - mu_t) / (1 - M_t) g + mu_{t+1} / (1 - M_{t+1}) m) / (sqrt(v^) + eps), with
  /// mu_t = b1 (1 - 0.96^(t psi) / 2) and M_t the product of mu_1 … mu_t.
  static let nadam = Method.optimizer(
    "nadam", "Adam with Nesterov's look ahead.",
    Reference("Dozat", 2016, "Incorporating Nesterov Momentum into Adam"),
    [.learningRate(0.002)] + Parameter.betas() + [
      .eps(1e-8), .real("momentum_decay", 0.004, in: .nonNegative, "psi, how slowly the momentum rises."),
      .weightDecay(), .decoupled, .maximize,
    ]
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: x.boolean("decoupled_weight_decay"))
    let (beta1, decay) = (x.course(of: "beta1"), x.real("momentum_decay"))
    let mu: @Sendable (StepNumbers, Int) -> Double = { beta1($0) * (1 - 0.5 * pow(0.96, Double($1) * decay)) }
    x.scalar("momentum_product", initial: 1) { $0["momentum_product"] * mu($0, $0.step) }
    let ofGradient = x.number("gradient_size") {
      $0.learningRate * (1 - mu($0, $0.step)) / (1 - $0["momentum_product"] * mu($0, $0.step))
    }
    let ofMoment = x.number("moment_size") {
      $0.learningRate * mu($0, $0.step + 1) / (1 - $0["momentum_product"] * mu($0, $0.step) * mu($0, $0.step + 1))
    }
    let m = x.average("first_moment", of: g, "beta1")
    let root = x.rootCorrection * sqrt(x.average("second_moment", of: square(g), "beta2")) + x.real("eps")
    return w - ofGradient * (g / root) - ofMoment * (m / root)
  }

  /// Adam's step times r_t once the variance of 1 / sqrt(v) is finite (rho_t > 5), and the plain average before:
  /// rho = 2 / (1 - b2) - 1, rho_t = rho - 2 t b2^t / (1 - b2^t),
  /// r_t^2 = (rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t).
  static let radam = Method.optimizer(
    "radam", "Adam that warms up by itself.",
    Reference(
      "Liu et al.", 2020, "On the Variance of the Adaptive Learning Rate and Beyond", arXiv: "1908.03265"),
    [.learningRate(0.001)] + Parameter.betas() + [.eps(1e-8), .weightDecay(), .decoupled, .maximize]
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: x.boolean("decoupled_weight_decay"))
    let beta2 = x.real("beta2")
    let last = 2 / (1 - beta2) - 1
    let length: @Sendable (Int) -> Double = {
      let power = pow(beta2, Double($0))
      return last - 2 * Double($0) * power / (1 - power)
    }
    let m = x.average("first_moment", of: g, "beta1")
    let v = x.average("second_moment", of: square(g), beta2)
    let isAdaptive = x.number("is_adaptive") { length($0.step) > 5 ? 1 : 0 }
    let rectified = x.number("rectified") { n in
      let rho = length(n.step)
      guard rho > 5 else { return 1 }
      let share = (rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho)
      return (share * (1 - pow(beta2, Double(n.step)))).squareRoot()
    }
    let scaled = x.firstStepSize * m
    return w - .select(isAdaptive, rectified * scaled / (sqrt(v) + x.real("eps")), scaled)
  }
}

extension Parameter {
  fileprivate static func largest(_ initial: Bool) -> Parameter {
    .boolean("amsgrad", initial, "Divide by the largest average so far.")
  }
}

extension Update {
  /// lr / (1 - b1^t)
  var firstStepSize: Expression {
    let beta1 = course(of: "beta1")
    return number("step_size") { $0.learningRate / (1 - pow(beta1($0), Double($0.step))) }
  }

  /// 1 / sqrt(1 - b2^t)
  var rootCorrection: Expression {
    let beta2 = course(of: "beta2")
    return number("root_correction") { 1 / (1 - pow(beta2($0), Double($0.step))).squareRoot() }
  }

  /// lr m^ / (sqrt(v^) + eps)
  func adamStep(_ m: Expression, _ v: Expression) -> Expression {
    firstStepSize * (m / (rootCorrection * sqrt(v) + real("eps")))
  }
}
