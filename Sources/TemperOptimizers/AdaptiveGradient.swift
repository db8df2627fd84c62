import Glibc
import TemperCatalogue
import TemperGraph

extension Optimizers {
  static let adaptiveMethods = [adagrad, adadelta, rmsprop, adafactor]

  /// s <- s + g^2; w <- w - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps).
  static let adagrad = Method.optimizer(
    "adagrad", "Steps scaled by the root of the sum of all squares so far.",
    Reference(
      "Duchi, Hazan and Singer", 2011,
      "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization"),
    [
      .learningRate(0.01),
      .real("lr_decay", 0, in: .nonNegative, "How fast the learning rate falls."),
      .real("initial_accumulator_value", 0, in: .nonNegative, "Where the sum of squares begins."),
      .eps(1e-10), .weightDecay(), .maximize,
    ]
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: false)
    let decay = x.real("lr_decay")
    let sum = x.state("square_sum", initial: x.real("initial_accumulator_value")) + square(g)
    x.set("square_sum", to: sum)
    let size = x.number("step_size") { $0.learningRate / (1 + Double($0.step - 1) * decay) }
    return w - size * (g / (sqrt(sum) + x.real("eps")))
  }

  /// v <- rho v + (1 - rho) g^2; d = sqrt(u + eps) / sqrt(v + eps) g; u <- rho u + (1 - rho) d^2; w <- w - lr d.
  static let adadelta = Method.optimizer(
    "adadelta", "Steps in the units of the parameter: scaled by the size of recent steps over that of gradients.",
    Reference("Zeiler", 2012, "ADADELTA: An Adaptive Learning Rate Method", arXiv: "1212.5701"),
    [
      .learningRate(1),
      .real("rho", 0.9, in: .belowOne, "How slowly the averages move."),
      .eps(1e-6), .weightDecay(), .maximize,
    ]
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: false)
    let (rho, eps) = (x.real("rho"), x.real("eps"))
    let squares = x.average("second_moment", of: square(g), rho)
    let step = sqrt(x.state("step_second_moment") + eps) / sqrt(squares + eps) * g
    _ = x.average("step_second_moment", of: square(step), rho)
    return w - x.learningRate * step
  }

  /// v <- alpha v + (1 - alpha) g^2; d = g / (sqrt(v) + eps), with v less the square of the average gradient where
  /// centered; then momentum over d. Tieleman and Hinton, 2012; Graves, 2013.
  static let rmsprop = Method.optimizer(
    "rmsprop", "Steps scaled by the root of an average of squares.",
    Reference("Graves", 2013, "Generating Sequences With Recurrent Neural Networks", arXiv: "1308.0850"),
    [
      .learningRate(0.01),
      .real("alpha", 0.99, in: .belowOne, "How slowly the average of squares moves."),
      .eps(1e-8),
      .real("momentum", 0, in: .belowOne, "How much of the last direction is kept."),
      .boolean("centered", false, "Divide by the standard deviation instead of the root mean square."),
      .weightDecay(), .maximize,
    ]
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: false)
    var v = x.average("second_moment", of: square(g), "alpha")
    if x.boolean("centered") { v = v - square(x.average("first_moment", of: g, "alpha")) }
    let d = g / (sqrt(v) + x.real("eps"))
    if x.isZero("momentum") { return w - x.learningRate * d }
    let b = x.moving("momentum") * x.state("momentum") + d
    x.set("momentum", to: b)
    return w - x.learningRate * b
  }

  /// The second moment of a matrix from the means of its rows r and columns c: v = r c / mean(r). Its share moves as
  /// 1 - t^decay; the update u = g / sqrt(v) is clipped at root mean square d and scaled by the parameter's own,
  /// w <- w (1 - lr wd) - max(eps2, RMS(w)) min(lr, 1 / sqrt(t)) u / max(1, RMS(u) / d).
  static let adafactor = Method.optimizer(
    "adafactor", "Adam's scaling with a row and a column of state for each matrix.",
    Reference(
      "Shazeer and Stern", 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
      arXiv: "1804.04235"),
    [
      .learningRate(0.01),
      .real("beta2_decay", -0.8, in: Interval(-.infinity, 0), "The power of the step in the share of new squares."),
      .optionalReal("eps1", in: .nonNegative, "Keeps squares away from 0; none: the rounding unit of the type."),
      .real("eps2", 1e-3, in: .nonNegative, "The least size that a parameter counts with."),
      .real("d", 1, in: .positive, "The root mean square at which updates are clipped."),
      .weightDecay(decoupled: true), .maximize,
    ], isElementwise: false, isDecoupled: true
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: true)
    let (power, eps1) = (x.real("beta2_decay"), x.optionalReal("eps1") ?? x.epsilon)
    let share = x.number("new_share") { pow(Double($0.step), power) }
    let variance: Expression
    if g.shape.rank > 1 {
      let axis = g.shape.rank - 2
      func factor(_ name: String, _ mean: Expression) -> Expression {
        let old = x.state(name, shape: mean.shape)
        let new = old + share * (mean - old)
        x.set(name, to: new)
        return new
      }
      let rows = factor("row_moment", square(g).mean(axis: -1))
      let columns = factor("column_moment", square(g).mean(axis: axis))
      variance = rows * columns / maximum(rows.mean(axis: axis), eps1)
    } else {
      let old = x.state("second_moment")
      variance = old + share * (square(g) - old)
      x.set("second_moment", to: variance)
    }
    let update = g / sqrt(maximum(variance, eps1 * eps1))
    let clipped = maximum(rootMeanSquare(update) / x.real("d"), 1)
    let size = x.number("relative_size") { min($0.learningRate, 1 / Double($0.step).squareRoot()) }
    return w - maximum(rootMeanSquare(x.parameter), x.real("eps2")) * size / clipped * update
  }
}

/// sqrt(mean(x^2)) over all elements.
func rootMeanSquare(_ x: Expression) -> Expression { sqrt(square(x).meanAll()) }

/// sqrt(sum(x^2)) over all elements.
func norm(_ x: Expression) -> Expression { sqrt(square(x).sumAll()) }
