import TemperCore
import TemperGraph

/// What a loss or operator builds its expression from: inputs, parameters and state, under their declared names.
package final class Formula {
  package let arguments: Arguments
  private let inputs: [String: Expression]
  private let samples: [String: Expression]
  /// Parameters whose value may move from step to step, by name.
  private let numbers: [String: Expression]
  /// Parameters read as values, and those read as numbers that move.
  private var builtIn: Set<String> = []
  private var replaced: Set<String> = []
  var live: Set<String> { replaced.subtracting(builtIn) }
  /// Samples, as a mask (N, 1), whose value is 0 and which leave the denominator of a mean.
  package private(set) var excluded: Expression?
  /// New values of per-sample state, in the order in which they were set.
  package private(set) var updates: [(name: String, value: Expression)] = []

  package init(
    arguments: Arguments, inputs: [String: Expression], samples: [String: Expression] = [:],
    numbers: [String: Expression] = [:]
  ) {
    (self.arguments, self.inputs, self.samples, self.numbers) = (arguments, inputs, samples, numbers)
  }

  package func real(_ name: String) -> Double {
    builtIn.insert(name)
    return arguments.real(name)
  }

  /// A real parameter as an expression: a schedule may move it without a new plan.
  package func number(_ name: String) -> Expression {
    guard let number = numbers[name] else { return .constant(real(name)) }
    replaced.insert(name)
    return number
  }

  package func optionalReal(_ name: String) -> Double? { arguments.optionalReal(name) }
  package func integer(_ name: String) -> Int { arguments.integer(name) }
  package func boolean(_ name: String) -> Bool { arguments.boolean(name) }
  package func text(_ name: String) -> String { arguments.text(name) }

  /// The value of an input that is a size.
  package func size(_ name: String) -> Int {
    guard let value = inputs[name]?.constantValue else { preconditionFailure("\(name) is no size") }
    return Int(value)
  }

  package func has(_ input: String) -> Bool { inputs[input] != nil }

  /// An input; class ids come as (N, 1) index expressions.
  package subscript(_ input: String) -> Expression {
    inputs[input] ?? .invalid(.internalFault, "The method reads an input \"\(input)\" that it does not declare.")
  }

  /// Per-sample state of the batch's samples, (N, …).
  package func state(_ name: String) -> Expression {
    samples[name] ?? .invalid(.internalFault, "The method reads a state \"\(name)\" that it does not declare.")
  }

  package func exclude(_ samples: Expression) { excluded = excluded.map { $0 .| samples } ?? samples }

  /// What a part of a composed method sees: its own arguments, inputs of which some are replaced, its states, and the
  /// numbers whose names begin with "PREFIX.".
  func part(
    _ arguments: Arguments, prefix: String, replacing changes: [String: Expression] = [:],
    states: [(own: String, name: String)]
  ) -> Formula {
    var own: [String: Expression] = [:]
    for state in states { own[state.own] = samples[state.name] }
    var moving: [String: Expression] = [:]
    for (name, number) in numbers where name.hasPrefix(prefix + ".") {
      moving[String(name.dropFirst(prefix.count + 1))] = number
    }
    return Formula(
      arguments: arguments, inputs: inputs.merging(changes) { $1 }, samples: own, numbers: moving)
  }

  /// Takes over what a part read and updated, under the names that its parameters and states have here.
  func adopt(_ part: Formula, prefix: String, states: [(own: String, name: String)]) {
    builtIn.formUnion(part.builtIn.map { prefix + "." + $0 })
    replaced.formUnion(part.replaced.map { prefix + "." + $0 })
    for update in part.updates {
      for state in states where state.own == update.name { updates.append((state.name, update.value)) }
    }
  }

  package func update(_ name: String, to value: Expression) { updates.append((name, value.stopGradient)) }

  // The words that classification losses share. N samples, C classes; values by sample are (N, 1).

  package var logits: Expression { self["logits"] }
  package var targets: Expression { self["targets"] }
  package var classes: Int { logits.shape.last }
  package var logProbabilities: Expression { logits.logSoftmax() }
  package var probabilities: Expression { logits.softmax() }

  /// Targets as probabilities (N, C).
  package var targetProbabilities: Expression {
    targets.kind == .index ? .oneHot(targets, columns: classes) : targets
  }

  /// sum over c of target_c * values_c: the target's column for class ids, (N, 1).
  package func atTarget(_ values: Expression) -> Expression {
    targets.kind == .index ? values.pick(targets) : (targets * values).sum()
  }

  /// log p_y, (N, 1): with soft targets its expectation.
  package var logProbability: Expression {
    targets.kind == .index ? logits.pick(targets) - logits.logSumExp() : (targets * logProbabilities).sum()
  }

  /// p_y, (N, 1).
  package var probability: Expression {
    targets.kind == .index ? exp(logProbability) : atTarget(probabilities)
  }
}
