import TemperCore
import TemperGraph

/// Methods made of methods. A composed method is a record like any other: its parameters are those of its parts under
/// "PART.NAME", so that a schedule can move them.
extension Method {
  /// sum of weight * loss. Inputs and state that parts share come once.
  package static func weightedSum(
    _ name: String, _ terms: [(weight: Double, loss: Method, arguments: Arguments)]
  ) throws(TemperError) -> Method {
    guard !terms.isEmpty else { throw TemperError(.invalidArgument, "A sum of losses needs at least one loss.") }
    var parts: [Part] = []
    var parameters: [Parameter] = []
    for term in terms {
      let same = parts.filter { $0.method.name == term.loss.name }.count
      let part = Part(term.loss, prefix: term.loss.name + (same == 0 ? "" : "_\(same + 1)"))
      parts.append(part)
      parameters.append(.real(part.prefix + ".weight", term.weight, "The factor of \(term.loss.name) in the sum."))
      parameters += part.parameters(term.arguments)
    }
    let inputs = try merge(terms.map(\.loss.inputs))
    let isBatch = terms.contains { $0.loss.properties.contains("batch") }
    let made = parts
    return Method(
      name, kind: .loss, area: "composed", summary: "A weighted sum of losses.", parameters: parameters,
      inputs: inputs, state: terms.flatMap(\.loss.state), properties: isBatch ? ["batch"] : [],
      check: { (inputs, arguments) throws(TemperError) in
        for part in made { try part.method.check?(inputs, try part.arguments(from: arguments)) }
      },
      implementation: .loss { x throws(TemperError) in
        var sum = Expression.constant(0)
        for part in made {
          let formula = x.part(try part.arguments(from: x.arguments))
          let value = try part.method.value(formula)
          x.adopt(formula)
          // A loss of the batch is one number beside values by sample: their mean is its own.
          sum = sum + x.real(part.prefix + ".weight") * (isBatch ? value.meanAll().reshaped([1, 1]) : value)
        }
        return sum
      })
  }

  /// A loss that sees one of its inputs through an operator of one input (clipped logits).
  package static func transformed(
    _ name: String, loss: Method, arguments: Arguments, input: String, by operation: Method, _ settings: Arguments
  ) throws(TemperError) -> Method {
    guard case .operation(let make) = operation.implementation, operation.inputs.count == 1 else {
      throw TemperError(.invalidArgument, "\"\(operation.name)\" is not an operator of one input.")
    }
    guard let position = loss.inputs.firstIndex(where: { $0.name == input || $0.aliases.contains(input) }) else {
      throw TemperError(.unknownName, "\(loss.name) has no input \"\(input)\".")
    }
    let target = loss.inputs[position].name
    let (outer, inner) = (Part(loss, prefix: loss.name), Part(operation, prefix: operation.name))
    return Method(
      name, kind: .loss, area: "composed", summary: "\(loss.name) of \(target) after \(operation.name).",
      parameters: outer.parameters(arguments) + inner.parameters(settings), inputs: loss.inputs, state: loss.state,
      properties: loss.properties.intersection(["batch"]),
      check: { (inputs, arguments) throws(TemperError) in
        try loss.check?(inputs, try outer.arguments(from: arguments))
      },
      implementation: .loss { x throws(TemperError) in
        let changed = try make(
          Formula(
            arguments: try inner.arguments(from: x.arguments), inputs: [operation.inputs[0].name: x[target]]))
        let formula = x.part(try outer.arguments(from: x.arguments), replacing: [target: changed])
        let value = try loss.value(formula)
        x.adopt(formula)
        return value
      })
  }

  /// Inputs by name; where parts differ, only the forms that all of them accept remain.
  private static func merge(_ lists: [[Input]]) throws(TemperError) -> [Input] {
    var merged: [Input] = []
    for input in lists.flatMap({ $0 }) {
      guard let at = merged.firstIndex(where: { $0.name == input.name }) else {
        merged.append(input)
        continue
      }
      let forms = merged[at].forms.filter { input.forms.contains($0) }
      guard !forms.isEmpty else {
        throw TemperError(.invalidArgument, "The parts of the sum take input \(input.name) in different forms.")
      }
      merged[at] = Input(
        input.name, aliases: input.aliases, forms, isOptional: merged[at].isOptional && input.isOptional,
        isDifferentiable: merged[at].isDifferentiable && input.isDifferentiable, input.summary)
    }
    return merged
  }
}

/// A method inside a composed one.
private struct Part: Sendable {
  let method: Method
  let prefix: String

  init(_ method: Method, prefix: String) { (self.method, self.prefix) = (method, prefix) }

  func parameters(_ arguments: Arguments) -> [Parameter] {
    method.parameters.map {
      Parameter(
        name: prefix + "." + $0.name, kind: $0.kind, initial: arguments.values[$0.name] ?? $0.initial,
        summary: $0.summary, allowsNone: $0.allowsNone, words: $0.words)
    }
  }

  func arguments(from whole: Arguments) throws(TemperError) -> Arguments {
    var given: [(name: String, value: Value)] = []
    for parameter in method.parameters {
      if let value = whole.values[prefix + "." + parameter.name] { given.append((parameter.name, value)) }
    }
    return try Arguments(given, for: method.parameters)
  }
}
