import TemperCore
import TemperGraph

/// One walk of an expression through a model: what the layers read (mode, parameters, clock, mask) and what they leave
/// (new running statistics, every layer's output). Made by `Model.pass`.
package final class Pass {
  package enum Mode: Hashable, Sendable { case training, inference }

  /// Stands in for a product with a weight: takes x as the layer would give it to the product, convolution or look-up.
  package typealias Replacement = @Sendable (Expression) -> Expression

  package let mode: Mode
  /// Index input of four words for random numbers; dropout in training needs it.
  package let clock: Expression?
  /// 1 at positions that may be attended to, 0 at padding, (N, T): given, or set by an embedding with a padding index.
  package internal(set) var mask: Expression?
  /// New values of buffers, by name; training mode only.
  package private(set) var updates: [(name: String, value: Expression)] = []
  /// What came out of each layer, by its path ("0", "2.1").
  package internal(set) var outputs: [String: Expression] = [:]

  private let variables: VariableTable
  private let replacements: [String: Replacement]
  /// What stands for a name: given, or made an input at its first use, so that one name is one node to differentiate by.
  private var values: [String: Expression]
  private let given: Set<String>
  private var nextStream: UInt32

  init(
    _ variables: VariableTable, mode: Mode, values: [String: Expression] = [:], clock: Expression? = nil,
    mask: Expression? = nil, replacements: [String: Replacement] = [:], firstStream: UInt32 = 0
  ) {
    (self.variables, self.mode, self.values, self.clock) = (variables, mode, values, clock)
    given = Set(values.keys)
    (self.mask, self.replacements, nextStream) = (mask, replacements, firstStream)
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

  /// The parameters as expressions, in the model's order: what gradients are taken with respect to.
  package var parameters: [Expression] { variables.parameters.map { self[$0.name] } }

  /// x (..., in) times the transpose of the weight (out, in).
  func product(_ x: Expression, _ weight: String) -> Expression {
    replaced(weight, x) ?? .matmul(x, self[weight], transposeB: true)
  }

  /// The replacement's result for x. It stands for the model's own values only: not in training, where it has no
  /// gradient, nor for values that the caller gave.
  func replaced(_ weight: String, _ x: Expression) -> Expression? {
    guard mode == .inference, !given.contains(weight) else { return nil }
    return replacements[weight].map { $0(x) }
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
