import TemperCore
import TemperGraph

/// One walk of an expression through a model: what the layers read (mode, parameters, clock, mask) and what they leave
/// (new running statistics, every layer's output). Made by `Model.pass`.
package final class Pass {
  package enum Mode: Hashable, Sendable { case training, inference }

  /// Stands in for a product with a weight: takes x as the layer would give it to the product, convolution or look-up.
  package typealias Replacement = @Sendable (Expression) -> Expression

  package private(set) var mode: Mode
  /// Index input of four words for random numbers: key low, key high, step low, step high. Dropout in training needs it.
  package let clock: Expression?
  /// 1 at positions that may be attended to, 0 at padding, (N, T): given, or set by an embedding with a padding index.
  package internal(set) var mask: Expression?
  /// New values of buffers, by name; training mode only.
  package private(set) var updates: [(name: String, value: Expression)] = []
  /// What came out of each layer, by its path ("0", "2.1").
  package internal(set) var outputs: [String: Expression] = [:]

  /// What becomes of a layer's output before others see it, by its path: noise, rounding.
  package var changes: [String: (Expression) -> Expression] = [:]

  /// What layers add to the objective of training, each of shape ().
  package private(set) var penalties: [Expression] = []
  /// Outputs over which the loss is averaged in place of the last layer's, where layers train several heads.
  package internal(set) var heads: [Expression] = []
  /// Where a layer mixed each sample with the next one of the batch: the sample's own share, (N, 1). The loss is mixed
  /// the same way.
  package private(set) var mixing: Expression?
  /// Whether symmetric noise has the opposite sign: the second pass of a pair.
  package let isMirrored: Bool

  private let variables: VariableTable
  private let replacements: [String: Replacement]
  /// What stands for a name: given, or made an input at its first use, so that one name is one node to differentiate by.
  private var values: [String: Expression]
  private let given: Set<String>
  /// Names for which a layer put something else in place, for the layers that it holds.
  private var replacedNames: Set<String> = []
  private var nextStream: UInt32

  init(
    _ variables: VariableTable, mode: Mode, values: [String: Expression] = [:], clock: Expression? = nil,
    mask: Expression? = nil, replacements: [String: Replacement] = [:], firstStream: UInt32 = 0,
    isMirrored: Bool = false
  ) {
    (self.variables, self.mode, self.values, self.clock) = (variables, mode, values, clock)
    given = Set(values.keys)
    (self.mask, self.replacements, nextStream) = (mask, replacements, firstStream)
    self.isMirrored = isMirrored
  }

  /// A parameter or buffer: what the caller gave for it, or an input of its name.
  package subscript(name: String) -> Expression {
    if let value = values[name] { return value }
    guard let variable = variables[name] else {
      return .invalid(.internalFault, "A layer reads \"\(name)\", which the model does not have.")
    }
    guard !variable.isAbsent else {
      return .invalid(
        .unsupported,
        "The model holds no float values of \"\(name)\": its weights are packed. Use the float model for this.")
    }
    let input = Expression.input(name, variable.shape)
    values[name] = input
    return input
  }

  /// The parameters that train as expressions, in the model's order: what gradients are taken with respect to.
  package var parameters: [Expression] { variables.parameters.filter { !$0.isFrozen }.map { self[$0.name] } }

  /// x (..., in) times the transpose of the weight (out, in).
  func product(_ x: Expression, _ weight: String) -> Expression {
    replaced(weight, x) ?? .matmul(x, self[weight], transposeB: true)
  }

  func changed(_ y: Expression, from path: String) -> Expression { changes[path].map { $0(y) } ?? y }

  /// The replacement's result for x. It stands for the model's own values only: not in training, where it has no
  /// gradient, nor for values that the caller gave.
  func replaced(_ weight: String, _ x: Expression) -> Expression? {
    guard mode == .inference, !given.contains(weight), !replacedNames.contains(weight) else { return nil }
    return replacements[weight].map { $0(x) }
  }

  /// What `body` gives when these values stand for these names.
  func replacing(_ changes: [String: Expression], _ body: () -> Expression) -> Expression {
    let (kept, names) = (changes.keys.map { ($0, values[$0]) }, replacedNames)
    for (name, value) in changes { values[name] = value }
    replacedNames.formUnion(changes.keys)
    defer {
      for (name, value) in kept { values[name] = value }
      replacedNames = names
    }
    return body()
  }

  /// What `body` gives in inference mode: for layers that are not trained.
  func inInference(_ body: () -> Expression) -> Expression {
    let kept = mode
    mode = .inference
    defer { mode = kept }
    return body()
  }

  /// Adds to the objective of training.
  func penalize(_ penalty: Expression) { if mode == .training { penalties.append(penalty) } }

  /// Every sample becomes share * itself + (1 - share) * the next one of the batch; batches come in random order.
  func mix(share: Expression) -> TemperError? {
    if mixing != nil {
      return TemperError(.unsupported, "The samples of a batch are mixed twice; a model has one layer that mixes.")
    }
    mixing = share
    return nil
  }

  /// The number of this step as a number of shape (1,).
  var step: Expression {
    guard let clock else {
      return .invalid(.internalFault, "A pass in training mode counts steps and needs a clock.")
    }
    return clock.slice(2..<3) + 0.0 * clock.slice(2..<3)
  }

  func update(_ buffer: String, to value: Expression) { updates.append((buffer, value.stopGradient)) }

  /// Uniforms in [0, 1) that no other draw of this step shares.
  func uniform(_ shape: Shape) -> Expression {
    guard let clock else {
      return .invalid(.internalFault, "A pass in training mode draws random numbers and needs a clock.")
    }
    defer { nextStream &+= 1 }
    return .uniform(shape, clock: clock, stream: nextStream)
  }
}
