/// Records for programs (JSON) and for people (text).
extension Catalogue {
  package var json: JSON { .array(methods.map(\.json)) }
}

extension Method {
  package var json: JSON {
    .object([
      ("name", .text(name)),
      ("aliases", .array(aliases.map { .text($0) })),
      ("kind", .text(kind.rawValue)),
      ("area", .text(area)),
      ("summary", .text(summary)),
      ("parameters", .array(parameters.map(\.json))),
      ("inputs", .array(inputs.map(\.json))),
      ("state", .array(state.map(\.json))),
      ("properties", .array(properties.sorted().map { .text($0) })),
      ("differentiable", .array(inputs.filter(\.isDifferentiable).map { .text($0.name) })),
      ("reference", reference?.json ?? .null),
      ("origin", origin.map { .text($0) } ?? .null),
    ])
  }

  /// The summary, then parameters, inputs, state and source: the text of a documentation string.
  package var documentation: String {
    var text = summary + "\n"
    func section(_ title: String, _ lines: [String]) {
      if !lines.isEmpty { text += "\n\(title):\n" + lines.map { "    \($0)\n" }.joined() }
    }
    section("Parameters", parameters.map(\.documentation))
    section("Inputs", inputs.map(\.documentation))
    section(
      "State by sample", state.map { "\($0.name) (\((["N"] + $0.shape).joined(separator: ", "))): \($0.summary)" })
    if !aliases.isEmpty { text += "\nAlso called: " + aliases.joined(separator: ", ") + ".\n" }
    if let reference { text += "\nReference: " + reference.description + "\n" }
    if let origin { text += "\nFrom: " + origin + "\n" }
    return text
  }
}

extension Parameter {
  var json: JSON {
    var members: [(name: String, value: JSON)] = [("name", .text(name))]
    switch kind {
    case .real(let interval):
      members.append(("type", .text("real")))
      if interval.lower.isFinite { members.append(("minimum", .real(interval.lower))) }
      if interval.upper.isFinite { members.append(("maximum", .real(interval.upper))) }
    case .integer(let range):
      members.append(("type", .text("integer")))
      if range.lowerBound != .min { members.append(("minimum", .integer(range.lowerBound))) }
      if range.upperBound != .max { members.append(("maximum", .integer(range.upperBound))) }
    case .boolean: members.append(("type", .text("boolean")))
    case .choice(let words):
      members += [("type", .text("choice")), ("choices", .array(words.map { .text($0) }))]
    case .text: members.append(("type", .text("text")))
    }
    members += [
      ("default", initial.json), ("optional", .boolean(allowsNone)), ("domain", .text(domain)),
      ("aliases", .array(aliases.map { .text($0) })), ("doc", .text(summary)),
    ]
    return .object(members)
  }

  var documentation: String {
    "\(name) = \(initial.description): \(summary) (\(domain)"
      + (aliases.isEmpty ? ")" : "; also \(aliases.joined(separator: ", ")))")
  }
}

extension Value {
  var json: JSON {
    switch self {
    case .none: .null
    case .boolean(let value): .boolean(value)
    case .integer(let value): .integer(value)
    case .real(let value): .real(value)
    case .text(let value): .text(value)
    }
  }
}

extension Input {
  var json: JSON {
    .object([
      ("name", .text(name)),
      ("forms", .array(forms.map(\.json))),
      ("optional", .boolean(isOptional)),
      ("differentiable", .boolean(isDifferentiable)),
      ("aliases", .array(aliases.map { .text($0) })),
      ("doc", .text(summary)),
    ])
  }

  var documentation: String {
    let shapes = forms.map { "(\($0.shape.joined(separator: ", "))) \($0.element.word)" }
    return "\(name)\(isOptional ? ", optional" : ""): \(shapes.joined(separator: " or ")). \(summary)"
  }
}

extension Input.Form {
  var json: JSON { .object([("shape", .array(shape.map { .text($0) })), ("dtype", .text(element.word))]) }
}

extension Input.Element {
  var word: String {
    switch self {
    case .real: "float"
    case .index: "int"
    case .mask: "bool"
    }
  }
}

extension SampleState {
  var json: JSON {
    .object([
      ("name", .text(name)), ("shape", .array(shape.map { .text($0) })), ("initial", .real(initial)),
      ("doc", .text(summary)),
    ])
  }
}

extension Reference {
  var json: JSON {
    .object([
      ("authors", .text(authors)), ("year", .integer(year)), ("title", .text(title)),
      ("arxiv", arXiv.map { .text($0) } ?? .null), ("text", .text(description)),
    ])
  }
}
