import TemperCore

/// Records for programs (JSON) and for people (text).
extension Catalogue {
  package var json: JSON { .array(methods.map(\.json)) }
}

extension Method {
  package var json: JSON {
    .object([
      JSON.Member("name", .text(name)),
      JSON.Member("aliases", .array(aliases.map { .text($0) })),
      JSON.Member("kind", .text(kind.rawValue)),
      JSON.Member("area", .text(area)),
      JSON.Member("summary", .text(summary)),
      JSON.Member("parameters", .array(parameters.map(\.json))),
      JSON.Member("inputs", .array(inputs.map(\.json))),
      JSON.Member("state", .array(state.map(\.json))),
      JSON.Member("numbers_by_sample", numbersBySample.map { .text($0) } ?? .null),
      JSON.Member("calls", .array(calls.map(\.json))),
      JSON.Member("keeps", .array(keeps.map(\.json))),
      JSON.Member("properties", .array(properties.sorted().map { .text($0) })),
      JSON.Member("differentiable", .array(inputs.filter(\.isDifferentiable).map { .text($0.name) })),
      JSON.Member("reference", reference?.json ?? .null),
      JSON.Member("origin", origin.map { .text($0) } ?? .null),
      JSON.Member("plugin", plugin?.json ?? .null),
    ])
  }

  /// How many numbers a method that is trained with keeps of each sample, from the sizes of its state: "2 + C". Nothing
  /// else that it keeps grows with the samples.
  package var numbersBySample: String? {
    guard kind == .procedure || (kind == .loss && !state.isEmpty) else { return nil }
    var counts: [(size: String, count: Int)] = []
    for size in state.map({ $0.shape.joined(separator: " ") }) {
      if let known = counts.firstIndex(where: { $0.size == size }) {
        counts[known].count += 1
      } else {
        counts.append((size, 1))
      }
    }
    let parts = counts.map { $0.size.isEmpty ? "\($0.count)" : $0.count == 1 ? $0.size : "\($0.count) \($0.size)" }
    return parts.isEmpty ? "0" : parts.joined(separator: " + ")
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
    if let numbers = numbersBySample {
      section(
        "Memory by sample",
        [numbers == "0" ? "none" : "\(numbers) numbers, 4 bytes each in float32 and 8 in float64"])
    }
    section("Calls", calls.map(\.documentation))
    section("Kept of a fit", keeps.map(\.documentation))
    if !aliases.isEmpty { text += "\nAlso called: " + aliases.joined(separator: ", ") + ".\n" }
    if let reference { text += "\nReference: " + reference.description + "\n" }
    if let origin { text += "\nFrom: " + origin + "\n" }
    if let plugin { text += "Plug-in: " + plugin.documentation + "\n" }
    return text
  }
}

extension Parameter {
  var json: JSON {
    var members: [JSON.Member] = [JSON.Member("name", .text(name))]
    switch kind {
    case .real(let interval):
      members.append(JSON.Member("type", .text("real")))
      if interval.lower.isFinite { members.append(JSON.Member("minimum", .real(interval.lower))) }
      if interval.upper.isFinite { members.append(JSON.Member("maximum", .real(interval.upper))) }
    case .integer(let range):
      members.append(JSON.Member("type", .text("integer")))
      if range.lowerBound != .min { members.append(JSON.Member("minimum", .integer(range.lowerBound))) }
      if range.upperBound != .max { members.append(JSON.Member("maximum", .integer(range.upperBound))) }
    case .boolean: members.append(JSON.Member("type", .text("boolean")))
    case .choice(let words):
      members += [JSON.Member("type", .text("choice")), JSON.Member("choices", .array(words.map { .text($0) }))]
    case .text: members.append(JSON.Member("type", .text("text")))
    }
    members += [
      JSON.Member("default", initial.json), JSON.Member("optional", .boolean(allowsNone)),
      JSON.Member("required", .boolean(isRequired)),
      JSON.Member("domain", .text(domain)),
      JSON.Member("aliases", .array(aliases.map { .text($0) })), JSON.Member("doc", .text(summary)),
    ]
    return .object(members)
  }

  var documentation: String {
    "\(name)\(isRequired ? ", required" : " = \(initial.description)"): \(summary) (\(domain)"
      + (aliases.isEmpty ? ")" : "; also \(aliases.joined(separator: ", ")))")
  }
}

extension Value {
  package var json: JSON {
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
    .object(
      [
        JSON.Member("name", .text(name)),
        JSON.Member("forms", .array(forms.map(\.json))),
        JSON.Member("optional", .boolean(isOptional)),
        JSON.Member("differentiable", .boolean(isDifferentiable)),
      ] + (none.map { [JSON.Member("none", .integer($0))] } ?? [])
        + (isText ? [JSON.Member("text", .boolean(true))] : [])
        + (domain == .any ? [] : [JSON.Member("domain", .text(domain.words))]) + [
          JSON.Member("aliases", .array(aliases.map { .text($0) })),
          JSON.Member("doc", .text(summary)),
        ])
  }

  var documentation: String {
    let shapes = forms.map { "(\($0.shape.joined(separator: ", "))) \($0.element.word)" }
    return "\(name)\(isOptional ? ", optional" : ""): \(shapes.joined(separator: " or ")). \(summary)"
  }
}

extension Input.Form {
  var json: JSON {
    var members = [JSON.Member("shape", .array(shape.map { .text($0) })), JSON.Member("dtype", .text(element.word))]
    if case .index(let below?) = element { members.append(JSON.Member("below", .text(below))) }
    return .object(members)
  }
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

extension ArrayCall {
  var json: JSON {
    .object([
      JSON.Member("name", .text(name)),
      JSON.Member("inputs", .array(inputs.map { .text($0.name) })),
      JSON.Member(
        "results",
        .array(
          results.map { result in
            .object([
              JSON.Member("name", .text(result.name)), JSON.Member("text", .boolean(result.isText)),
              JSON.Member("doc", .text(result.summary)),
            ])
          })),
    ])
  }

  var documentation: String {
    let given = results.map { "\($0.name): \($0.summary)" }.joined(separator: " ")
    return "\(name)(\(inputs.map(\.name).joined(separator: ", ")))" + (given.isEmpty ? "" : " gives \(given)")
  }
}

extension SampleState {
  var json: JSON {
    .object([
      JSON.Member("name", .text(name)), JSON.Member("shape", .array(shape.map { .text($0) })),
      JSON.Member("initial", .real(initial)),
      JSON.Member("doc", .text(summary)),
    ])
  }
}

extension Reference {
  var json: JSON {
    .object([
      JSON.Member("authors", .text(authors)), JSON.Member("year", .integer(year)), JSON.Member("title", .text(title)),
      JSON.Member("arxiv", arXiv.map { .text($0) } ?? .null), JSON.Member("text", .text(description)),
    ])
  }
}
