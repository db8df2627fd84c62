import TemperCore
import TemperGraph

/// An operator or activation with its parameters. Used by one thread at a time.
package final class OperationInstance {
  package let method: Method
  package let arguments: Arguments
  private let workers: Workers
  private var cache = PlanCache<[String]>()

  package init(_ method: Method, _ arguments: Arguments, workers: Workers) throws(TemperError) {
    guard case .operation = method.implementation else {
      throw TemperError(.invalidArgument, "\"\(method.name)\" is of kind \(method.kind.rawValue), not an operator.")
    }
    (self.method, self.arguments, self.workers) = (method, arguments, workers)
  }

  /// The result. `axis` is the one along which an operator of rows works.
  package func evaluate(
    _ given: [String: Tensor], axis: Int = -1, into array: Tensor? = nil
  ) throws(TemperError) -> Tensor {
    do throws(TemperError) {
      let match = try Match(given, to: method.inputs, axis: axis)
      try method.check?(match.tensors, arguments)
      let call = try evaluation(match)
      return try call.run(
        match, ignored: [], targets: [try resultTarget(match, call.outputShapes[0], axis, array)])[0]
    } catch { throw error.from(method.name) }
  }

  /// The shape of what `evaluate` gives for these inputs.
  package func resultShape(_ given: [String: Tensor], axis: Int = -1) throws(TemperError) -> Shape {
    do throws(TemperError) {
      let match = try Match(given, to: method.inputs, axis: axis)
      try method.check?(match.tensors, arguments)
      let call = try evaluation(match)
      return try resultTarget(match, call.outputShapes[0], axis, nil).shape
    } catch { throw error.from(method.name) }
  }

  private func evaluation(_ match: Match) throws(TemperError) -> PreparedCall {
    try cache.call(for: match, []) { () throws(TemperError) in
      try PreparedCall([try result(match.expressions)], type: match.type, workers: workers)
    }
  }

  /// The gradients of sum(dy * result) for each name in `wrt` (without it: for every input that has one and came).
  package func vectorJacobianProduct(
    _ given: [String: Tensor], dy: Tensor, axis: Int = -1, wrt: [String]? = nil, into arrays: [String: Tensor] = [:]
  ) throws(TemperError) -> [String: Tensor] {
    do throws(TemperError) {
      let inputs = try Match(given, to: method.inputs, axis: axis)
      try method.check?(inputs.tensors, arguments)
      let wrt = try differentiable(wrt, inputs)
      let match = try adding(dy, to: inputs, axis)
      let call = try cache.call(for: match, wrt) { () throws(TemperError) in
        let expressions = match.expressions
        let result = try result(expressions)
        guard let seed = expressions["dy"] else { throw TemperError(.internalFault, "dy is lost.") }
        let expected = try resultTarget(inputs, result.shape, axis, nil).shape
        guard dy.shape == expected else {
          throw TemperError(.invalidShape, "dy must have the result's shape \(expected); shape \(dy.shape) came.")
        }
        let outputs = try Differentiate.gradients(
          of: result, seed: seed, withRespectTo: wrt.compactMap { expressions[$0] })
        return try PreparedCall(outputs, type: match.type, workers: workers)
      }
      var targets: [PreparedCall.Target] = []
      for name in wrt {
        guard let entry = match[name] else { continue }
        let isMoved = entry.input.hasLeadingSizes
        let shape = isMoved ? try entry.tensor.movingFromEnd(to: axis).shape : entry.tensor.shape
        targets.append(
          .init(shape: shape, tensor: arrays[name], name: "the gradient for \(name)", axis: isMoved ? axis : -1))
      }
      let results = try call.run(match, ignored: [], targets: targets)
      return Dictionary(uniqueKeysWithValues: zip(wrt, results))
    } catch { throw error.from(method.name) }
  }

  /// The operator over expressions; one of rows works along their last axis.
  package func build(_ inputs: [String: Expression]) throws(TemperError) -> Expression {
    let value = try result(inputs)
    if let error = value.error { throw error.from(method.name) }
    return value
  }

  private func result(_ inputs: [String: Expression]) throws(TemperError) -> Expression {
    guard case .operation(let make) = method.implementation else {
      throw TemperError(.internalFault, "\(method.name) is no operator.")
    }
    return try make(Formula(arguments: arguments, inputs: inputs))
  }

  private var reducesAxis: Bool { method.properties.contains("reduces_axis") }
  private var worksOnRows: Bool { method.inputs.contains { $0.hasLeadingSizes } }
  private var isElementwise: Bool { method.inputs.contains { $0.forms.contains { $0.shape == ["..."] } } }

  /// Where the result goes: sizes that the formula saw as one axis come apart again.
  private func resultTarget(
    _ match: Match, _ inner: Shape, _ axis: Int, _ array: Tensor?
  ) throws(TemperError) -> PreparedCall.Target {
    func target(_ shape: Shape, axis: Int = -1) -> PreparedCall.Target {
      let isWhole = method.properties.contains("whole")
      return .init(shape: shape, tensor: array, name: "the result", axis: axis, isWhole: isWhole)
    }
    if isElementwise { return target(Shape(match.rest)) }
    guard worksOnRows else { return target(inner) }
    if reducesAxis { return target(Shape(match.rest)) }
    var sizes = match.rest
    let at = axis < 0 ? axis + sizes.count + 1 : axis
    sizes.insert(inner.last, at: at)
    return target(Shape(sizes), axis: axis)
  }

  private func adding(_ dy: Tensor, to match: Match, _ axis: Int) throws(TemperError) -> Match {
    let input = Input("dy", [.init([])], "The result's gradient.")
    if isElementwise { return match.adding(input, dy, as: [dy.count]) }
    guard worksOnRows else { return match.adding(input, dy, as: dy.shape) }
    if reducesAxis { return match.adding(input, dy, as: [dy.count, 1]) }
    let moved = try dy.movingToEnd(axis, of: "dy")
    return match.adding(input, moved, as: [moved.shape.sizes.dropLast().reduce(1, *), moved.shape.last])
  }

  private func differentiable(_ names: [String]?, _ match: Match) throws(TemperError) -> [String] {
    let possible = match.entries.filter { $0.input.isDifferentiable && $0.kind == .real }
    guard let names else { return possible.map(\.input.name) }
    var resolved: [String] = []
    for name in names {
      guard let entry = possible.first(where: { $0.input.name == name || $0.input.aliases.contains(name) }),
        !resolved.contains(entry.input.name)
      else {
        throw TemperError(
          .unknownName,
          "There is no gradient for \"\(name)\", or it was asked for twice; there is one for \(possible.map(\.input.name).joined(separator: ", "))."
        )
      }
      resolved.append(entry.input.name)
    }
    return resolved
  }
}
