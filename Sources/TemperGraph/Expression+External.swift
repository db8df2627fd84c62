import TemperCore

extension Expression {
  /// Value by row of a foreign function over `inputs` whose first axis is N: shape (N, 1).
  package static func external(_ function: ExternalFunction, _ inputs: [Expression]) -> Expression {
    guard let rows = inputs.first?.shape.sizes.first else {
      return .invalid(.invalidArgument, "\(function.name): a foreign function needs an input with a first axis.")
    }
    return Expression(.external(function, output: 0), inputs, [rows, 1])
  }

  /// What a foreign function gives beside the value, for input `index` and in its shape: its gradient, or, of an input
  /// without one, what it becomes.
  package static func external(
    _ function: ExternalFunction, _ inputs: [Expression], for index: Int
  ) -> Expression {
    Expression(.external(function, output: index + 1), inputs, inputs[index].shape)
  }
}
