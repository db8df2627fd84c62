import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// Methods whose steps are made of whole matrices: every parameter of two or more axes, all but the first taken together.
/// The others follow AdamW with a learning rate of their own.
extension Optimizers {
  static let matrixMethods = [muon, root, shampoo, soap, rootPolynomialFit, lpDictionaryLearning]

  private static let beside: [Parameter] = [
    .real("adamw_learning_rate", 3e-4, in: .nonNegative, "Of AdamW on vectors; a schedule moves it too."),
    .beta(1, 0.9, "AdamW's average of gradients."), .beta(2, 0.95, "AdamW's average of squares."),
    .real("adamw_eps", 1e-8, in: .nonNegative, "Added to AdamW's root."),
  ]

  /// AdamW for what is no matrix.
  private static func adamW(_ x: Update, _ w: Expression) -> Expression {
    let (beta1, beta2) = (x.real("beta1"), x.real("beta2"))
    let (own, whole) = (x.real("adamw_learning_rate"), x.real("learning_rate"))
    let m = x.average("first_moment", of: x.gradient, beta1)
    let v = x.average("second_moment", of: square(x.gradient), beta2)
    let rate: @Sendable (StepNumbers) -> Double = { whole > 0 ? $0.learningRate / whole * own : own }
    let size = x.number("adamw_size") { rate($0) / (1 - power(beta1, $0.step)) }
    let decay = x.real("weight_decay")
    let kept = x.number("adamw_kept") { 1 - rate($0) * decay }
    return kept * w - size * (m / (x.rootCorrection * sqrt(v) + x.real("adamw_eps")))
  }

  /// The direction of momentum: M <- mu M + G, or with weights that add to 1, and Nesterov's look ahead.
  private static func momentum(_ x: Update, isMean: Bool) -> Expression {
    let (mu, g) = (x.real("momentum"), x.gradient.asMatrix)
    let old = x.state("momentum", shape: g.shape)
    let m = mu * old + (isMean ? 1 - mu : 1) * g
    x.set("momentum", to: m)
    if !x.boolean("nesterov") { return m }
    return isMean ? (1 - mu) * g + mu * m : g + mu * m
  }

  private static func kept(_ x: Update) -> Expression {
    let decay = x.real("weight_decay")
    return decay == 0 ? x.parameter : x.number("kept") { 1 - $0.learningRate * decay } * x.parameter
  }

  /// W <- (1 - lr wd) W - lr s O, O the momentum with its singular values brought near 1. The scale s is
  /// sqrt(max(1, rows / columns)), or 0.2 sqrt(max(rows, columns)), which gives the update the size of AdamW's.
  static let muon = Method.optimizer(
    "muon", "Steps along the momentum made orthogonal.",
    Reference("Jordan et al.", 2024, "Muon: An optimizer for hidden layers in neural networks"),
    [
      .learningRate(0.02), .real("momentum", 0.95, in: .belowOne, "How much of the last direction is kept."),
      .boolean("nesterov", true, "Look ahead along the direction."),
      .choice("momentum_form", ["mean", "sum"], "(1 - mu) G + mu M, or G + mu M."),
      .integer("ns_steps", 5, in: 1...100, "Steps of the iteration.").named(also: "steps"),
      .real("a", 3.4445, "Of the iteration's polynomial."), .real("b", -4.7750, "Of the iteration's polynomial."),
      .real("c", 2.0315, "Of the iteration's polynomial."),
      .real("eps", 1e-7, in: .nonNegative, "Added to the norm."),
      .real("least_norm", 0, in: .nonNegative, "What a smaller norm counts as: PyTorch's eps."),
      .choice("scale", ["original", "match_rms_adamw"], "The size of the update."),
      .weightDecay(0.1, decoupled: true),
    ] + beside, isElementwise: false, isDecoupled: true
  ) { x in
    guard x.gradient.shape.rank > 1 else { return adamW(x, x.parameter) }
    let quintic = Quintic(a: x.real("a"), b: x.real("b"), c: x.real("c"))
    let direction = momentum(x, isMean: x.text("momentum_form") == "mean")
      .orthogonalised(quintic, steps: x.integer("ns_steps"), eps: x.real("eps"), least: x.real("least_norm"))
    let (rows, columns) = (Double(direction.shape[0]), Double(direction.shape[1]))
    let scale =
      x.text("scale") == "original"
      ? max(1, rows / max(columns, 1)).squareRoot() : 0.2 * max(rows, columns).squareRoot()
    return kept(x) - x.learningRate * (scale * direction).reshaped(x.parameter.shape)
  }

  /// Muon on the momentum clipped at a quantile of its magnitudes, with a polynomial for each shape.
  static let root = Method.optimizer(
    "root_optimizer", aliases: ["root"], "Muon that cuts off outliers and fits its iteration to the shape.",
    Reference(title: "ROOT: Robust Orthogonalized Optimizer for Neural Network Training", arXiv: "2511.20626"),
    [
      .learningRate(0.001), .real("momentum", 0.95, in: .belowOne, "How much of the last direction is kept."),
      .boolean("nesterov", true, "Look ahead along the direction."),
      .integer("steps", 5, in: 1...100, "Steps of the iteration."),
      .real("quantile", 0.9, in: .unit, "Of the magnitudes; what lies above is cut off."),
      .optionalReal("a", "Of the iteration's polynomial; none: what is known for the shape, or Muon's."),
      .optionalReal("b", "As a."), .optionalReal("c", "As a."),
      .real("rms_scale", 0.2, in: .nonNegative, "The root mean square of an update for a square matrix."),
      .weightDecay(0.1, decoupled: true),
    ] + beside, isElementwise: false, isDecoupled: true
  ) { x in
    guard x.gradient.shape.rank > 1 else { return adamW(x, x.parameter) }
    let g = momentum(x, isMean: false)
    let bound = quantile(abs(g), x.real("quantile")) + 1e-9
    let known = fitted(g.shape[0], g.shape[1])
    let quintic = Quintic(
      a: x.optionalReal("a") ?? known.a, b: x.optionalReal("b") ?? known.b, c: x.optionalReal("c") ?? known.c)
    let direction = minimum(maximum(g, -bound), bound).orthogonalised(quintic, steps: x.integer("steps"))
    let scale = x.real("rms_scale") * Double(max(g.shape[0], g.shape[1])).squareRoot()
    return kept(x) - x.learningRate * (scale * direction).reshaped(x.parameter.shape)
  }

  /// Polynomials fitted to singular values of momenta of these shapes, as released with the paper.
  private static func fitted(_ rows: Int, _ columns: Int) -> Quintic {
    switch (min(rows, columns), max(rows, columns)) {
    case (2048, 2048): Quintic(a: 3.4916, b: -4.8224, c: 2.1095)
    case (2048, 3072): Quintic(a: 3.4509, b: -4.5790, c: 1.9325)
    case (2048, 8192): Quintic(a: 2.9794, b: -3.6674, c: 1.6207)
    case (2048, 16384): Quintic(a: 3.1943, b: -3.8221, c: 1.5322)
    default: .muon
    }
  }

  /// L <- L + G G^T, R <- R + G^T G from eps I on; W <- W - lr L^(-1/4) G R^(-1/4). Vectors are divided by the root of
  /// their sum of squares.
  static let shampoo = Method.optimizer(
    "shampoo", "Steps scaled from both sides by roots of second moments of rows and columns.",
    Reference(
      "Gupta, Koren and Singer", 2018, "Shampoo: Preconditioned Stochastic Tensor Optimization", arXiv: "1802.09568"),
    [
      .learningRate(0.1), .real("momentum", 0, in: .belowOne, "How much of the last direction is kept."),
      .real("eps", 1e-4, in: .positive, "Where the moments begin."),
      .integer("update_freq", 1, in: 1 ... .max, "Steps from one inverse root to the next."), .weightDecay(),
    ], isElementwise: false
  ) { x in
    let (mu, frequency) = (x.real("momentum"), x.integer("update_freq"))
    var g = x.decayed(x.gradient, isDecoupled: false).g
    if mu > 0 {
      g = mu * x.state("momentum") + (1 - mu) * g
      x.set("momentum", to: g)
    }
    guard g.shape.rank > 1 else {
      let sum = x.state("square_sum", initial: x.real("eps")) + square(g)
      x.set("square_sum", to: sum)
      return x.parameter - x.learningRate * g / sqrt(sum)
    }
    let matrix = g.asMatrix
    let isDue = x.number("is_due") { ($0.step - 1) % frequency == 0 ? 1 : 0 }
    func root(_ side: String, _ outer: Expression) -> Expression {
      let moment = x.state(side + "_moment", shape: outer.shape, .identity(x.real("eps"))) + outer
      x.set(side + "_moment", to: moment)
      let known = x.state(side + "_root", shape: outer.shape)
      let root = MatrixFunctions.power(moment, -0.25, known: known, isDue: isDue)
      x.set(side + "_root", to: root)
      return root
    }
    let left = root("left", .matmul(matrix, matrix, transposeB: true))
    let right = root("right", .matmul(matrix, matrix, transposeA: true))
    let step = Expression.matmul(.matmul(left, matrix), right)
    return x.parameter - x.learningRate * step.reshaped(x.parameter.shape)
  }

  /// Adam in the eigenbases of Shampoo's moments L and R, which are averages here and whose bases follow by orthogonal
  /// iteration every few steps: G' = Q^T G P, m' = Q^T M P, W <- W - lr Q (m'^ / (sqrt(v'^) + eps)) P^T.
  static let soap = Method.optimizer(
    "soap", "Adam in the eigenbasis of Shampoo's second moments.",
    Reference(
      "Vyas et al.", 2024, "SOAP: Improving and Stabilizing Shampoo using Adam", arXiv: "2409.11321"),
    [.learningRate(3e-3)] + Parameter.betas(0.95, 0.95) + [
      .eps(1e-8), .beta(3, 0.95, "How slowly the moments of rows and columns move.").named(also: "shampoo_beta"),
      .integer("precondition_frequency", 10, in: 1 ... .max, "Steps from one change of the bases to the next."),
      .weightDecay(0.01, decoupled: true),
    ], isElementwise: false, isDecoupled: true
  ) { x in
    let (w, g) = x.decayed(x.gradient, isDecoupled: true)
    let (beta1, beta2, beta3) = (x.real("beta1"), x.real("beta2"), x.real("beta3"))
    guard g.shape.rank > 1 else {
      return w - x.adamStep(x.average("first_moment", of: g, beta1), x.average("second_moment", of: square(g), beta2))
    }
    let (matrix, frequency) = (g.asMatrix, x.integer("precondition_frequency"))
    let isDue = x.number("is_due") { $0.step == 1 || $0.step % frequency == 0 ? 1 : 0 }
    func basis(_ side: String, _ outer: Expression) -> Expression {
      let old = x.state(side + "_moment", shape: outer.shape)
      let moment = beta3 * old + (1 - beta3) * outer
      x.set(side + "_moment", to: moment)
      let basis = MatrixFunctions.iteratedBasis(
        moment, x.state(side + "_basis", shape: outer.shape, .identity(1)), isDue: isDue)
      x.set(side + "_basis", to: basis)
      return basis
    }
    let left = basis("left", .matmul(matrix, matrix, transposeB: true))
    let right = basis("right", .matmul(matrix, matrix, transposeA: true))
    func turned(_ x: Expression) -> Expression { .matmul(.matmul(left, x, transposeA: true), right) }
    let m = beta1 * x.state("first_moment", shape: matrix.shape) + (1 - beta1) * matrix
    x.set("first_moment", to: m)
    let v = beta2 * x.state("second_moment", shape: matrix.shape) + (1 - beta2) * square(turned(matrix))
    x.set("second_moment", to: v)
    let step = Expression.matmul(.matmul(left, x.adamStep(turned(m), v)), right, transposeB: true)
    return w - step.reshaped(w.shape)
  }
}
