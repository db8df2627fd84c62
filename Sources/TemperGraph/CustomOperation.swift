import TemperCore

/// An operation that another room brings: with what it captured (packed weights), or with a way of its own to compute a
/// formula (in blocks, so that no large array is stored). Compared by identity.
package final class CustomOperation: Hashable, Sendable {
  /// Dense inputs to dense outputs, of the plan's type; outputs that nobody reads are nil.
  package typealias Body = (_ inputs: [Tensor], _ outputs: [Tensor?]) throws(TemperError) -> Void
  /// The gradients of sum(dy * result `output`) by input, nil where there is none; nil for all: through the definition.
  package typealias Gradient =
    @Sendable (_ output: Int, _ inputs: [Expression], _ results: [Expression], _ dy: Expression) -> [Expression?]?

  package let name: String
  /// Called once for each execution: what the operation needs between runs is allocated here.
  package let prepare: @Sendable (DType, Workers) throws(TemperError) -> Body
  /// The results as plain expressions of the inputs: what tests hold it to, and what derivatives come from where
  /// `gradient` gives none. An operation without it has no derivative.
  package let definition: (@Sendable (_ inputs: [Expression]) -> [Expression])?
  package let gradient: Gradient?
  /// Of an operation that is another's gradient, and reads its inputs, some of its results and last dy: from these
  /// inputs and dy, the other's results and then its own, in one go. Plans take it where dy does not wait for a result.
  package let joint: CustomOperation?

  package init(
    name: String, definition: (@Sendable ([Expression]) -> [Expression])? = nil, gradient: Gradient? = nil,
    joint: CustomOperation? = nil, prepare: @escaping @Sendable (DType, Workers) throws(TemperError) -> Body
  ) {
    (self.name, self.definition, self.gradient, self.joint, self.prepare) = (name, definition, gradient, joint, prepare)
  }

  /// One output, and nothing to prepare; `evaluate` cuts its own pieces over the workers.
  package convenience init(
    name: String, evaluate: @escaping @Sendable ([Tensor], Tensor, Workers) throws(TemperError) -> Void
  ) {
    self.init(name: name) { _, workers in
      { (inputs, outputs) throws(TemperError) in
        if let output = outputs[0] { try evaluate(inputs, output, workers) }
      }
    }
  }

  package static func == (a: CustomOperation, b: CustomOperation) -> Bool { a === b }
  package func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }

  /// The gradient of sum(dy * result) by one input, for the node that is result `output`.
  func derivative(input index: Int, of node: Node, output: Int, _ dy: Expression) throws(TemperError) -> Expression? {
    let inputs = node.inputs.map { Expression($0) }
    guard inputs[index].kind == .real else { return nil }
    guard let definition else {
      throw TemperError(.unsupported, "It has no derivative; use the float model for gradients.", origin: name)
    }
    if let gradient {
      let results = definition(inputs).enumerated().map {
        $0.offset == output ? Expression(node) : Expression(.custom(self, output: $0.offset), inputs, $0.element.shape)
      }
      if let gradients = gradient(output, inputs, results, dy) { return gradients[index] }
    }
    let own = inputs.map(\.apart)
    return try Differentiate.gradients(of: definition(own)[output], seed: dy, withRespectTo: [own[index]])[0]
  }
}

extension Expression {
  /// The same in a node of its own: what another input is made of it is then not taken for its part. (A reshape would
  /// vanish in the next one.)
  var apart: Expression { Expression(.permute(Array(0..<shape.rank)), [self], shape, kind) }

  package static func custom(_ operation: CustomOperation, _ inputs: [Expression], shape: Shape) -> Expression {
    Expression(.custom(operation, output: 0), inputs, shape)
  }

  /// All results of an operation with a definition.
  package static func custom(_ operation: CustomOperation, _ inputs: [Expression]) -> [Expression] {
    (operation.definition?(inputs) ?? []).enumerated().map {
      $0.element.error != nil
        ? $0.element : Expression(.custom(operation, output: $0.offset), inputs, $0.element.shape)
    }
  }
}

/// Plans of the tiles that a custom operation works through, one for each size of tile, made at their first use.
package final class TilePlans<Size: Hashable> {
  private let type: DType
  private let workers: Workers
  private let make: (Size) -> [Output]
  private var executions: [Size: Execution] = [:]

  package init(_ type: DType, _ workers: Workers, _ make: @escaping (Size) -> [Output]) {
    (self.type, self.workers, self.make) = (type, workers, make)
  }

  /// Runs the plan for a size; tensors of outputs that are not written in place of an input come by their number.
  package func run(_ size: Size, _ inputs: [String: Tensor], _ outputs: [Int: Tensor] = [:]) throws(TemperError) {
    let execution: Execution
    if let known = executions[size] {
      execution = known
    } else {
      execution = try Execution(try Plan(make(size), type: type), workers: workers)
      executions[size] = execution
    }
    for input in execution.plan.inputs {
      if let tensor = inputs[input.name] { try execution.bind(input.name, to: tensor) }
    }
    for (index, tensor) in outputs { try execution.bind(output: index, to: tensor) }
    try execution.run()
  }
}

extension Tensor? {
  /// The array if there is one, else one that nobody reads.
  package func orZeros(_ shape: Shape, _ type: DType) throws(TemperError) -> Tensor {
    if let tensor = self { return tensor }
    return try Tensor(zeros: shape, type)
  }
}
