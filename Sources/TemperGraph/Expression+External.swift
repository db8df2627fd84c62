import TemperCore

extension Expression {
  /// Value by row of a foreign function over `inputs` whose first axis is N: shape (N, 1).
  package static func external(_ function: ExternalFunction, _ inputs: [Expression]) -> Expression {
    guard let rows = inputs.first?.shape.sizes.first else {
      return .invalid(.invalidArgument, "\(function.name): a foreign function needs an input with a first axis.")
    }
    return Expression(.external(function, output: 0), inputs, [rows, 1])
  }
}
