import TemperCore

/// One result of a plan.
package struct Output: Sendable {
  package let expression: Expression
  /// The input whose memory receives the result, once nothing reads its old value any more.
  package let inPlaceOf: String?
  package init(_ expression: Expression, inPlaceOf input: String? = nil) {
    (self.expression, self.inPlaceOf) = (expression, input)
  }
}

/// Expressions turned into steps over one arena: fused, ordered, laid out. Made once per shape, immutable, shareable.
package final class Plan: Sendable {
  package let type: DType
  /// Inputs that the outputs depend on, in order of first use.
  package let inputs: [(name: String, shape: Shape, kind: Kind)]
  package let outputs: [Output]

  /// `type` is float32 or float64. Errors carried by the expressions are thrown here.
  package init(_ outputs: [Output], type: DType = .float32) throws(TemperError) {
    fatalError("being written")
  }
}

/// A plan with its memory: bind arrays, run, read. Used by one thread at a time; runs its pieces on the workers.
package final class Execution {
  package let plan: Plan
  package init(_ plan: Plan, workers: Workers) throws(TemperError) { fatalError("being written") }
  /// Inputs are dense: real ones of the plan's type, indices int32. Held until bound anew.
  package func bind(_ name: String, to tensor: Tensor) throws(TemperError) { fatalError("being written") }
  /// Where output `index` goes (dense, of the plan's type); without this, into memory of the execution's own.
  package func bind(output index: Int, to tensor: Tensor) throws(TemperError) { fatalError("being written") }
  package func run() throws(TemperError) { fatalError("being written") }
  /// The result of the last run; valid until the next one (an in-place output is the input's own memory).
  package func output(_ index: Int) -> Tensor { fatalError("being written") }
}
