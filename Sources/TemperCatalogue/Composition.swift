import TemperCore
import TemperGraph

/// What holds for a whole as soon as it holds for a part.
private let inherited: Set<String> = ["batch", "holds_constants", "first_order"]

/// Losses made of losses. A composed loss is a record like any other: its parameters are those of its parts under
/// "PART.NAME", so that a schedule can move them; a state that two parts would share by name gets the part's name, too.
extension Method {
  /// sum of weight * loss. Inputs that parts share come once; a sample that a part leaves out adds nothing there, and
  /// leaves the mean's denominator where all parts leave it out.
  package static func weightedSum(
    _ terms: [(name: String?, weight: Double, loss: Method, arguments: Arguments)]
  ) throws(TemperError) -> (method: Method, prefixes: [String]) {
    guard !terms.isEmpty else { throw TemperError(.invalidArgument, "A sum of losses needs at least one loss.") }
    var parts: [Part] = []
    var parameters: [Parameter] = []
    for term in terms {
      guard term.weight.isFinite else {
        throw TemperError(
          .outOfRange, "The weight of \(term.name ?? term.loss.name) must be finite; \(term.weight) came.")
      }
      guard !term.loss.parameters.contains(where: { $0.name == "weight" }) else {
        throw TemperError(
          .invalidArgument, "\(term.loss.name) has a parameter weight: so is its factor in a sum called.")
      }
      let prefix = try Part.unique(term.name ?? term.loss.name, among: parts)
      let part = Part(term.loss, prefix: prefix, statesTaken: parts.flatMap(\.states).map(\.name))
      parts.append(part)
      parameters.append(.real(prefix + ".weight", term.weight, "The factor of \(prefix) in the sum."))
      parameters += part.parameters(term.arguments)
    }
    let inputs = try merge(terms.map(\.loss.inputs))
    let properties = Set(terms.flatMap(\.loss.properties)).intersection(inherited)
    let isBatch = properties.contains("batch")
    let made = parts
    var method = Method(
      parts.map(\.prefix).joined(separator: " + "), kind: .loss, area: "composed", summary: "A weighted sum of losses.",
      parameters: parameters, inputs: inputs, state: parts.flatMap(\.sampleStates),
      properties: properties,
      check: { (inputs, arguments) throws(TemperError) in
        for part in made { try part.check(inputs, arguments) }
      },
      implementation: .loss { x throws(TemperError) in
        var sum = Expression.constant(0)
        var excluded: [Expression?] = []
        for part in made {
          let (value, left) = try part.value(x)
          // A loss of the batch is one number; beside it stand the means of values by sample.
          let reduced =
            isBatch ? LossExpression(values: value, counted: left.map { not($0) }).reduced(.mean) : value
          sum = sum + x.number(part.prefix + ".weight") * (isBatch ? reduced.reshaped([1, 1]) : value)
          excluded.append(left)
        }
        let all = excluded.compactMap { $0 }
        if !isBatch, all.count == made.count, let first = all.first {
          x.exclude(all.dropFirst().reduce(first) { $0 .& $1 })
        }
        return sum
      })
    method.parts = terms.map(\.loss)
    return (method, parts.map(\.prefix))
  }

  /// A loss that sees one of its inputs through an operator of one input (clipped logits).
  package static func transformed(
    loss: Method, arguments: Arguments, input: String, by operation: Method, _ settings: Arguments
  ) throws(TemperError) -> Method {
    guard case .operation(let make) = operation.implementation, let first = operation.inputs.first,
      operation.inputs.dropFirst().allSatisfy(\.isOptional), !operation.properties.contains("reduces_axis")
    else { throw TemperError(.invalidArgument, "\"\(operation.name)\" does not turn one array into another.") }
    guard let target = loss.inputs.first(where: { $0.name == input || $0.aliases.contains(input) }) else {
      throw TemperError(
        .unknownName,
        "\(loss.name) has no input \"\(input)\"; it has \(loss.inputs.map(\.name).joined(separator: ", ")).")
    }
    guard target.forms.allSatisfy({ $0.element == .real }) else {
      throw TemperError(.invalidArgument, "Input \(target.name) of \(loss.name) holds no real numbers to change.")
    }
    let (outer, inner) = (Part(loss, prefix: loss.name), Part(operation, prefix: operation.name))
    var method = Method(
      "\(loss.name) of \(operation.name)", kind: .loss, area: "composed",
      summary: "\(loss.name) with its \(target.name) through \(operation.name).",
      parameters: outer.parameters(arguments) + inner.parameters(settings),
      // What comes out of the operator must lie in the domain, not what goes in.
      inputs: loss.inputs.map { $0.name == target.name ? $0.anywhere : $0 }, state: outer.sampleStates,
      properties: loss.properties.intersection(inherited),
      check: { (inputs, arguments) throws(TemperError) in try outer.check(inputs, arguments) },
      implementation: .loss { x throws(TemperError) in
        let settings = try inner.arguments(from: x.arguments)
        let changed = try make(Formula(arguments: settings, inputs: [first.name: x[target.name]]))
        guard changed.error != nil || changed.shape == x[target.name].shape else {
          throw TemperError(
            .invalidShape, "\(operation.name) turns \(x[target.name].shape) into \(changed.shape); shapes must stay.")
        }
        let (value, excluded) = try outer.value(x, replacing: [target.name: changed])
        if let excluded { x.exclude(excluded) }
        return value
      })
    method.parts = [loss, operation]
    return method
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
        isDifferentiable: merged[at].isDifferentiable && input.isDifferentiable,
        in: merged[at].domain.intersection(input.domain), input.summary)
    }
    return merged
  }
}

/// A method inside a composed one.
private struct Part: Sendable {
  let method: Method
  let prefix: String
  /// The names of its states, its own and those that the whole has for them.
  let states: [(own: String, name: String)]

  init(_ method: Method, prefix: String, statesTaken: [String] = []) {
    (self.method, self.prefix) = (method, prefix)
    states = method.state.map { ($0.name, statesTaken.contains($0.name) ? prefix + "." + $0.name : $0.name) }
  }

  /// The name, with a number if an earlier part has it.
  static func unique(_ name: String, among parts: [Part]) throws(TemperError) -> String {
    guard !name.isEmpty else { throw TemperError(.invalidArgument, "A term's name is empty.") }
    var (candidate, number) = (name, 1)
    while parts.contains(where: { $0.prefix == candidate }) {
      number += 1
      candidate = "\(name)_\(number)"
    }
    return candidate
  }

  func parameters(_ arguments: Arguments) -> [Parameter] {
    method.parameters.map {
      Parameter(
        name: prefix + "." + $0.name, kind: $0.kind, initial: arguments.values[$0.name] ?? $0.initial,
        summary: $0.summary, allowsNone: $0.allowsNone, words: $0.words)
    }
  }

  var sampleStates: [SampleState] {
    zip(method.state, states).map { state, names in
      SampleState(
        names.name, state.shape, initial: state.initial,
        initialParameter: state.initialParameter.map { prefix + "." + $0 }, state.summary)
    }
  }

  func arguments(from whole: Arguments) throws(TemperError) -> Arguments {
    var given: [(name: String, value: Value)] = []
    for parameter in method.parameters {
      if let value = whole.values[prefix + "." + parameter.name] { given.append((parameter.name, value)) }
    }
    return try Arguments(given, for: method.parameters)
  }

  func check(_ inputs: [String: Tensor], _ whole: Arguments) throws(TemperError) {
    try method.check?(inputs, try arguments(from: whole))
  }

  /// The part's value, and the samples that it leaves out.
  func value(
    _ x: Formula, replacing changes: [String: Expression] = [:]
  ) throws(TemperError) -> (value: Expression, excluded: Expression?) {
    let formula = x.part(try arguments(from: x.arguments), prefix: prefix, replacing: changes, states: states)
    let value = try method.value(formula)
    x.adopt(formula, prefix: prefix, states: states)
    return (value, formula.excluded)
  }
}
