import TemperCore
import TemperGraph

/// A plan of gradients, or of each sample's norms of them, at one batch size with its memory, kept for the next call.
final class Backward {
  enum Goal { case gradients, sampleNorms }

  let goal: Goal
  let count: Int
  let names: [String]
  let workers: Workers
  let execution: Execution

  init(_ model: Model, _ goal: Goal, count: Int, names: [String], workers: Workers) throws(TemperError) {
    (self.goal, self.count, self.names, self.workers) = (goal, count, names, workers)
    let mask: Expression? = model.needsMask ? .input("mask", [count, model.input.shape[0]]) : nil
    let x = Expression.input("x", Shape([count] + model.input.shape.sizes), model.input.kind)
    var values: [String: Expression] = [:]
    var wanted: [Expression] = []
    for name in names {
      guard name != "x" else {
        guard model.input.kind == .real else {
          throw TemperError(.unsupported, "The model takes indices, which have no gradient.")
        }
        wanted.append(x)
        continue
      }
      guard let parameter = model.parameters.first(where: { $0.name == name }) else {
        throw TemperError(
          .unknownName, "There is no gradient for \"\(name)\": the model has x and its parameters.")
      }
      guard parameter.tensor != nil else {
        throw TemperError(.unsupported, "\"\(name)\" holds packed weights, which have no gradient.")
      }
      let value = Expression.input(name, parameter.shape)
      values[name] = value
      wanted.append(value)
    }
    let y = model.forward(x, model.pass(.inference, values: values, mask: mask))
    let seed = Expression.input("dy", y.shape)
    var results: [Expression]
    switch goal {
    case .gradients: results = try Differentiate.gradients(of: y, seed: seed, withRespectTo: wanted)
    case .sampleNorms:
      results = try Differentiate.sampleSquaredNorms(
        of: y, seed: seed, batch: [x] + (mask.map { [$0] } ?? []), withRespectTo: Array(zip(names, wanted)))
      results = results.map { sqrt(maximum($0, 0)).reshaped([count]) }
    }
    execution = try Execution(try Plan(results.map { Output($0) }, type: model.dtype), workers: workers)
    try model.bind(to: execution)
  }
}

extension Model {
  /// The gradient of sum(dy * outputs), as in inference, for "x" and for parameters by name, into the arrays given. With
  /// the gradient of a loss as `dy` these are that loss's gradients: for attacks, saliency, training loops of one's own.
  package func vectorJacobianProduct(
    _ x: Tensor, mask: Tensor? = nil, dy: Tensor, into gradients: [(name: String, tensor: Tensor)], workers: Workers
  ) throws(TemperError) {
    try backward(.gradients, x, mask: mask, dy: dy, into: gradients, workers: workers)
  }

  /// For each sample the norm of the gradient of dy_n . output_n, (N,), for parameters by name, into the arrays given:
  /// without the gradients themselves.
  package func sampleGradientNorms(
    _ x: Tensor, mask: Tensor? = nil, dy: Tensor, into norms: [(name: String, tensor: Tensor)], workers: Workers
  ) throws(TemperError) {
    if norms.contains(where: { $0.name == "x" }) {
      throw TemperError(.unknownName, "Norms are those of gradients for parameters; vjp gives the gradient for x.")
    }
    try backward(.sampleNorms, x, mask: mask, dy: dy, into: norms, workers: workers)
  }

  private func backward(
    _ goal: Backward.Goal, _ x: Tensor, mask: Tensor?, dy: Tensor, into gradients: [(name: String, tensor: Tensor)],
    workers: Workers
  ) throws(TemperError) {
    try checkInput(x)
    let count = x.shape[0]
    try checkMask(mask, count)
    let expected = Shape([count] + output.sizes)
    guard dy.shape == expected, dy.dtype.isFloating, count > 0 else {
      throw TemperError(
        .invalidShape,
        "dy is an array of floats of the outputs' shape \(expected), at least one sample; \(dy.dtype.name) of shape \(dy.shape) came."
      )
    }
    let names = gradients.map(\.name)
    let call: Backward
    if let kept = backward, kept.goal == goal, kept.count == count, kept.names == names, kept.workers === workers {
      call = kept
    } else {
      call = try Backward(self, goal, count: count, names: names, workers: workers)
      backward = call
    }
    var given = [("x", try prepared(x)), ("dy", try floats(dy))]
    if let mask { given.append(("mask", try floats(mask))) }
    for (name, tensor) in given where call.execution.plan.inputs.contains(where: { $0.name == name }) {
      try call.execution.bind(name, to: tensor)
    }
    var copies: [(index: Int, target: Tensor)] = []
    for (index, gradient) in gradients.enumerated() {
      let shape = call.execution.plan.outputs[index].expression.shape
      guard gradient.tensor.shape == shape, gradient.tensor.dtype.isFloating, !gradient.tensor.isReadOnly else {
        throw TemperError(
          .invalidShape,
          "The \(goal == .gradients ? "gradient" : "array of norms") for \(gradient.name) goes into a writable array of floats of shape \(shape); \(gradient.tensor.dtype.name) of shape \(gradient.tensor.shape) came."
        )
      }
      if gradient.tensor.isDense, gradient.tensor.dtype == dtype {
        try call.execution.bind(output: index, to: gradient.tensor)
      } else {
        let own = try Tensor(zeros: shape, dtype)
        try call.execution.bind(output: index, to: own)
        copies.append((index, gradient.tensor))
      }
    }
    try refreshNoise()
    try call.execution.run()
    for copy in copies { try copy.target.assign(from: call.execution.output(copy.index)) }
  }

  /// Dense, of the model's type.
  private func floats(_ tensor: Tensor) throws(TemperError) -> Tensor {
    tensor.dtype == dtype ? try tensor.dense() : try tensor.copy(as: dtype)
  }
}
