import TemperCore
import TemperGraph

/// What a loss or operator builds its expression from: inputs, parameters and state, under their declared names.
package final class Formula {
  package let arguments: Arguments
  private let inputs: [String: Expression]
  private let samples: [String: Expression]
  /// Samples, as a mask (N, 1), whose value is 0 and which leave the denominator of a mean.
  package private(set) var excluded: Expression?
  /// New values of per-sample state, in the order in which they were set.
  package private(set) var updates: [(name: String, value: Expression)] = []

  package init(arguments: Arguments, inputs: [String: Expression], samples: [String: Expression] = [:]) {
    (self.arguments, self.inputs, self.samples) = (arguments, inputs, samples)
  }

  package func real(_ name: String) -> Double { arguments.real(name) }
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

  /// What a part of a composed method sees: its own arguments, and inputs of which some are replaced.
  package func part(_ arguments: Arguments, replacing changes: [String: Expression] = [:]) -> Formula {
    Formula(arguments: arguments, inputs: inputs.merging(changes) { $1 }, samples: samples)
  }

  /// Takes over what a part excluded and updated.
  func adopt(_ part: Formula) {
    if let excluded = part.excluded { exclude(excluded) }
    updates += part.updates
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
