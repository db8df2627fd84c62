import TemperCatalogue
import TemperCore
import TemperGraph

/// Every optimizer and schedule of this room, and what gradients say about their noise.
package enum Optimizers {
  package static let all: [Method] =
    descentMethods + adaptiveMethods + adamMethods + adamVariants + layerwiseMethods + parameterFreeMethods
    + scheduleFreeMethods + robustMethods + averageWrappers + gradientWrappers + clippingWrappers + sharpnessWrappers
    + matrixMethods + [adam8Bit, pvTuning, sparseAdam] + searches + [metricCombinationSearch]
    + schedules + warmups + cycles + adaptiveSchedules + composedSchedules + GradientStatistics.all
}

extension Parameter {
  static func learningRate(_ value: Double) -> Parameter {
    .real("learning_rate", value, in: .nonNegative, "The length of a step.").named(also: "lr")
  }

  /// A loss gets this times half the squared norm of the parameters; or, decoupled, they shrink beside its gradient.
  static func weightDecay(_ value: Double = 0, decoupled: Bool = false) -> Parameter {
    .real(
      "weight_decay", value, in: .nonNegative,
      decoupled
        ? "The parameter shrinks by the learning rate times this."
        : "This times the parameter is added to the gradient."
    )
  }

  static let decoupled = Parameter.boolean(
    "decoupled_weight_decay", false, "Shrink the parameter beside the gradient instead of adding to it.")
  static let maximize = Parameter.boolean("maximize", false, "Go up instead of down.")
  static func eps(_ value: Double) -> Parameter { .real("eps", value, in: .nonNegative, "Added to the root.") }

  static func beta(_ index: Int, _ value: Double, _ summary: String) -> Parameter {
    .real("beta\(index)", value, in: .belowOne, summary)
  }

  /// beta1 and beta2 of Adam and its kin.
  static func betas(_ first: Double = 0.9, _ second: Double = 0.999) -> [Parameter] {
    [
      .beta(1, first, "How slowly the average of gradients moves."),
      .beta(2, second, "How slowly the average of squares moves."),
    ]
  }

  static let seed = Parameter.integer("seed", 0, "Of the random numbers.")

  /// Of a method that stands around another.
  static func base(_ name: String = "sgd") -> Parameter {
    .text("base", name, "The optimizer inside, whose parameters may be given too (as base.NAME where both have one).")
  }
}

extension Update {
  /// The gradient to go down along: turned round where the loss is to grow.
  var slope: Expression { boolean("maximize") ? -gradient : gradient }

  /// Weight decay inside the gradient, g + wd w, or, decoupled, beside it, w (1 - lr wd). Loshchilov and Hutter, 2019.
  func decayed(_ slope: Expression, isDecoupled: Bool) -> (w: Expression, g: Expression) {
    if isZero("weight_decay") { return (parameter, slope) }
    guard isDecoupled else { return (parameter, slope + moving("weight_decay") * parameter) }
    let decay = course(of: "weight_decay")
    return (number("kept") { 1 - $0.learningRate * decay($0) } * parameter, slope)
  }

  /// old + share (new - old), kept under `name`.
  func average(_ name: String, of value: Expression, _ beta: Double, initial: Double = 0) -> Expression {
    let mean = beta * state(name, initial: initial) + (1 - beta) * value
    set(name, to: mean)
    return mean
  }

  /// beta old + (1 - beta) new, kept under `name`; a schedule may move beta, a parameter of the method.
  func average(_ name: String, of value: Expression, _ beta: String, initial: Double = 0) -> Expression {
    let mean = moving(beta) * state(name, initial: initial) + complement(of: beta) * value
    set(name, to: mean)
    return mean
  }
}

extension Method {
  /// The record of an update rule.
  static func optimizer(
    _ name: String, aliases: [String] = [], _ summary: String, _ reference: Reference?, _ parameters: [Parameter],
    isElementwise: Bool = true, isDecoupled: Bool = false,
    _ rule: @escaping @Sendable (Update) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .optimizer, area: "optim", summary: summary, reference: reference,
      parameters: parameters,
      properties: Set((isElementwise ? ["elementwise"] : []) + (isDecoupled ? ["decoupled_weight_decay"] : [])),
      implementation: .update { rule($0) })
  }

  /// The record of a rule around another.
  static func around(
    _ name: String, aliases: [String] = [], _ summary: String, _ reference: Reference?, _ parameters: [Parameter],
    base: String = "sgd", isElementwise: Bool = true,
    _ rule: @escaping @Sendable (Update, _ base: Method) throws(TemperError) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .optimizer, area: "optim", summary: summary, reference: reference,
      parameters: [.base(base)] + parameters,
      properties: Set(["wrapper", "decoupled_weight_decay"] + (isElementwise ? ["elementwise"] : [])),
      implementation: .updateAround(rule))
  }
}
