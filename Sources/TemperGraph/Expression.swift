import TemperCore

/// Whether elements are numbers of the plan's working type or int32 indices.
package enum Kind: Hashable, Sendable { case real, index }

/// A value in a static graph: shape known, never changed. Everything with a gradient is one.
///
/// Building never fails and never traps: what is wrong (shapes that do not fit) is carried inside the expression and
/// thrown when a plan is made of it.
package struct Expression: Sendable {
  package let node: Node
  package var shape: Shape { node.shape }
  package var kind: Kind { node.kind }

  package init(_ node: Node) { self.node = node }

  init(_ operation: Operation, _ inputs: [Expression], _ shape: Shape, _ kind: Kind = .real) {
    if let broken = inputs.first(where: { $0.error != nil }) {
      self = broken
    } else if shape.sizes.contains(where: { $0 < 0 }) || shape.count > Shape.maximumCount {
      self = .invalid(.invalidShape, "An array of shape \(shape) is larger than any memory.")
    } else {
      node = Node(operation, inputs.map(\.node), shape, kind)
    }
  }

  /// What went wrong while this was built.
  package var error: TemperError? {
    if case .invalid(let error) = node.operation { error } else { nil }
  }

  package static func invalid(_ error: TemperError) -> Expression { Expression(.invalid(error), [], []) }
  package static func invalid(_ code: TemperError.Code, _ message: String) -> Expression {
    .invalid(TemperError(code, message))
  }
}

/// Never changed after its making; `inputs` is given up piece by piece only while the last reference goes.
package final class Node: @unchecked Sendable {
  package let operation: Operation
  package private(set) var inputs: [Node]
  package let shape: Shape
  package let kind: Kind

  init(_ operation: Operation, _ inputs: [Node], _ shape: Shape, _ kind: Kind) {
    (self.operation, self.inputs, self.shape, self.kind) = (operation, inputs, shape, kind)
  }

  /// Without recursion: a chain of a million nodes must not use up the stack.
  deinit {
    var pending = inputs
    inputs = []
    while var node = pending.popLast() {
      guard isKnownUniquelyReferenced(&node) else { continue }
      pending += node.inputs
      node.inputs = []
    }
  }
}

extension Expression {
  /// A named array that is bound when the plan runs.
  package static func input(_ name: String, _ shape: Shape, _ kind: Kind = .real) -> Expression {
    Expression(.input(name: name), [], shape, kind)
  }

  package static func constant(_ value: Double, _ shape: Shape = []) -> Expression {
    Expression(.constant(value), [], shape)
  }

  package static func zeros(_ shape: Shape) -> Expression { constant(0, shape) }

  /// 0, 1, 2, … along `axis`.
  package static func iota(_ shape: Shape, axis: Int = -1) -> Expression {
    let axis = axis < 0 ? axis + shape.rank : axis
    guard axis >= 0, axis < shape.rank else {
      return .invalid(.invalidArgument, "iota: axis \(axis) is outside shape \(shape).")
    }
    // Row programs count columns; another axis is the last one of a smaller array, broadcast.
    let column = Expression(.iota(axis: 0), [], [shape[axis]])
    var sizes = [Int](repeating: 1, count: shape.rank)
    sizes[axis] = shape[axis]
    return column.reshaped(Shape(sizes)).broadcast(to: shape)
  }

  /// Uniforms in [0, 1) for dropout and noise: a function of (key, step, stream, element). `clock` is an index input
  /// of four words: key low, key high, step low, step high.
  package static func uniform(_ shape: Shape, clock: Expression, stream: UInt32) -> Expression {
    guard clock.kind == .index, clock.shape == [4] else {
      return .invalid(.invalidArgument, "uniform: the clock must be an index input of shape (4,).")
    }
    return Expression(.uniform(stream: stream), [clock], shape)
  }

  package var stopGradient: Expression { Expression(.stopGradient, [self], shape, kind) }

  /// This value with derivatives that are known: of what solves an equation, or is a maximum over something else. Each
  /// slope broadcasts with the value to the shape of what it is by.
  package func withSlopes(_ slopes: [(by: Expression, slope: Expression)]) -> Expression {
    Expression(.withSlopes, [self] + slopes.flatMap { [$0.by, $0.slope] }, shape, kind)
  }

  /// The number that this is at every element, if it is known.
  package var constantValue: Double? {
    var node = node
    while case .broadcast = node.operation { node = node.inputs[0] }
    while case .reshape = node.operation { node = node.inputs[0] }
    if case .constant(let value) = node.operation { return value }
    return nil
  }
}
