import TemperCore
import TemperGraph

/// A plan of gradients at one batch size with its memory, kept for the next call.
final class Backward {
  let count: Int
  let names: [String]
  let workers: Workers
  let execution: Execution

  init(_ model: Model, count: Int, names: [String], workers: Workers) throws(TemperError) {
    (self.count, self.names, self.workers) = (count, names, workers)
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
    let gradients = try Differentiate.gradients(of: y, seed: .input("dy", y.shape), withRespectTo: wanted)
    execution = try Execution(try Plan(gradients.map { Output($0) }, type: model.dtype), workers: workers)
    try model.bind(to: execution)
  }
}

extension Model {
  /// The gradient of sum(dy * outputs), as in inference, for "x" and for parameters by name, into the arrays given. With
  /// the gradient of a loss as `dy` these are that loss's gradients: for attacks, saliency, training loops of one's own.
  package func vectorJacobianProduct(
    _ x: Tensor, mask: Tensor? = nil, dy: Tensor, into gradients: [(name: String, tensor: Tensor)], workers: Workers
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
    if let kept = backward, kept.count == count, kept.names == names, kept.workers === workers {
      call = kept
    } else {
      call = try Backward(self, count: count, names: names, workers: workers)
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
          "The gradient for \(gradient.name) goes into a writable array of floats of shape \(shape); \(gradient.tensor.dtype.name) of shape \(gradient.tensor.shape) came."
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
