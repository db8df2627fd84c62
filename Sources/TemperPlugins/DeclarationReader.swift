import TemperCatalogue
import TemperCore

/// Reads the declaration of losses in a text: TOML, or JSON where the text begins with a brace. `README.md` in
/// examples/plugins lists the keys.
struct DeclarationReader {
  /// Which kinds of losses may stand in this text.
  enum Place { case file, python, callable }

  private let place: Place

  static func read(_ text: String, _ place: Place, firstLine: Int = 1) throws(TemperError) -> Declaration {
    let isJSON = text.utf8.first { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 } == UInt8(ascii: "{")
    let json = isJSON ? try JSON(parsing: text) : try TOMLReader.read(text, firstLine: firstLine)
    return try DeclarationReader(place: place).declaration(json)
  }

  private func declaration(_ json: JSON) throws(TemperError) -> Declaration {
    let keys = try Keys(json, "the declaration", ["name", "version", "licence", "summary", "loss"])
    let name = try keys.name("name")
    var list = keys["loss"]
    if let single = list, case .object = single { list = .array([single]) }
    guard case .array(let entries)? = list, !entries.isEmpty, entries.count <= 1024 else {
      throw keys.wrong("it declares at least one [[loss]]")
    }
    var losses: [LossDescriptor] = []
    for entry in entries { losses.append(try loss(entry)) }
    if let twice = losses.map(\.name).firstRepeated { throw keys.wrong("two losses are called \(twice)") }
    return Declaration(
      name: name, version: try keys.text("version") ?? "0", licence: try keys.text("licence") ?? "no licence stated",
      summary: try keys.text("summary") ?? "", losses: losses)
  }

  private static let common = ["name", "summary", "reference", "inputs", "parameters"]

  private func loss(_ json: JSON) throws(TemperError) -> LossDescriptor {
    let own: [String] =
      switch place {
      case .file: ["formula", "batch", "library", "symbol", "signature", "gradient", "reduce"]
      case .python: ["function", "arrays", "gradients"]
      case .callable: ["arrays", "gradients"]
      }
    let keys = try Keys(json, "a loss", DeclarationReader.common + own)
    let name = try keys.name("name")
    do throws(TemperError) {
      let parameters = try parameters(keys["parameters"])
      let (kind, usual) = try kind(keys)
      let (inputs, ranges) =
        try keys["inputs"].map { json throws(TemperError) in try self.inputs(json) }
        ?? (usual, usual.map { DeclarationReader.usualRange($0) })
      if let twice = (inputs.map(\.name) + parameters.map(\.name)).firstRepeated {
        throw keys.wrong("the name \(twice) stands for two of its inputs and parameters")
      }
      let loss = LossDescriptor(
        kind: kind, name: name, summary: try keys.text("summary") ?? DeclarationReader.summary(kind),
        reference: try keys.text("reference"), inputs: inputs, ranges: ranges, parameters: parameters)
      if case .foreign(let foreign) = kind { try foreign.check(loss) }
      return loss
    } catch { throw error.from("loss \(name)") }
  }

  private static func summary(_ kind: LossDescriptor.Kind) -> String {
    switch kind {
    case .formula(let formula, _): formula.text
    case .foreign(let foreign): "The function \(foreign.symbol) of \(foreign.library)."
    case .python(let python): python.function.map { "The Python function \($0)." } ?? "A Python function."
    case .function, .composed: ""
    }
  }

  /// What computes the loss, and the inputs that it has unless it declares others.
  private func kind(_ keys: Keys) throws(TemperError) -> (LossDescriptor.Kind, [Input]) {
    switch place {
    case .callable: return (.python(try python(keys, function: nil)), Input.regression)
    case .python: return (.python(try python(keys, function: try keys.required("function"))), Input.regression)
    case .file:
      if let text = try keys.text("formula") {
        for key in ["library", "symbol", "signature", "gradient", "reduce"] where keys[key] != nil {
          throw keys.wrong("\"\(key)\" does not go with a formula")
        }
        let formula = try FormulaText(text)
        let inputs = keys["inputs"] == nil ? try FormulaLoss.inputs(for: formula) : []
        return (.formula(formula, isOfBatch: try keys.flag("batch") ?? false), inputs)
      }
      guard keys["library"] != nil else { throw keys.wrong("it has a \"formula\", or a \"library\" with a \"symbol\"") }
      if keys["batch"] != nil { throw keys.wrong("\"batch\" goes with a formula") }
      let foreign = try foreign(keys)
      return (.foreign(foreign), foreign.signature.names.contains("logits") ? Input.classification : Input.regression)
    }
  }

  private func python(_ keys: Keys, function: String?) throws(TemperError) -> PythonDeclaration {
    let words = PythonDeclaration.Arrays.allCases.map(\.rawValue)
    let word = try keys.text("arrays") ?? "numpy"
    guard let arrays = PythonDeclaration.Arrays(rawValue: word) else {
      throw keys.wrong("\"arrays\" is one of \(words.joined(separator: ", ")); \"\(word)\" came")
    }
    return PythonDeclaration(
      function: function, arrays: arrays, returnsGradients: try keys.flag("gradients") ?? false)
  }

  private func foreign(_ keys: Keys) throws(TemperError) -> ForeignDeclaration {
    var gradient: (symbol: String, signature: ForeignSignature)?
    if let json = keys["gradient"] {
      let own = try Keys(json, "gradient", ["symbol", "signature"])
      gradient = (try own.required("symbol"), try ForeignSignature(try own.required("signature")))
    }
    let reduce = try keys.text("reduce") ?? "mean"
    guard reduce == "mean" || reduce == "sum" else { throw keys.wrong("\"reduce\" is mean or sum; \"\(reduce)\" came") }
    return ForeignDeclaration(
      library: try keys.required("library"), symbol: try keys.required("symbol"),
      signature: try ForeignSignature(try keys.required("signature")), gradient: gradient, isMean: reduce == "mean")
  }

  // Inputs and parameters: tables under their names.

  private static func usualRange(_ input: Input) -> ClosedRange<Double> { input.isDifferentiable ? -2...2 : 0...1 }

  private func inputs(_ json: JSON) throws(TemperError) -> ([Input], [ClosedRange<Double>]) {
    if json == .text("classification") {
      return (Input.classification, Input.classification.map { DeclarationReader.usualRange($0) })
    }
    if json == .text("regression") {
      return (Input.regression, Input.regression.map { DeclarationReader.usualRange($0) })
    }
    guard case .object(let members) = json, (1...64).contains(members.count) else {
      throw TemperError(
        .invalidArgument, "\"inputs\" is \"classification\", \"regression\", or a table of 1 to 64 inputs by name.")
    }
    var (inputs, ranges): ([Input], [ClosedRange<Double>]) = ([], [])
    for member in members {
      let (input, range) = try input(member.name, member.value, isFirst: inputs.isEmpty)
      inputs.append(input)
      ranges.append(range)
    }
    return (inputs, ranges)
  }

  private func input(
    _ name: String, _ json: JSON, isFirst: Bool
  ) throws(TemperError) -> (Input, ClosedRange<Double>) {
    let keys = try Keys(
      json, "input \(name)", ["shape", "type", "below", "optional", "differentiable", "range", "doc"])
    let shape = try keys.required("shape").split(separator: ",").map { String($0.filter { $0 != " " }) }
    let type = try keys.text("type") ?? "real"
    let element: InputRules.Element? = ["real": .real, "index": .index, "mask": .mask][type]
    guard let element else { throw keys.wrong("\"type\" is real, index or mask; \"\(type)\" came") }
    let range = try keys.interval("range").map { ($0.lower, $0.upper) } ?? (0, 0)
    do throws(TemperError) {
      return try InputRules.input(
        try keys.nameOf(name), shape: shape, element, below: try keys.text("below"),
        summary: try keys.text("doc") ?? "", range, isOptional: try keys.flag("optional") ?? false,
        isDifferentiable: try keys.flag("differentiable") ?? (isFirst && element == .real), isFirst: isFirst)
    } catch { throw keys.wrong(error.message.hasSuffix(".") ? String(error.message.dropLast()) : error.message) }
  }

  private func parameters(_ json: JSON?) throws(TemperError) -> [Parameter] {
    guard let json else { return [] }
    guard case .object(let members) = json, members.count <= 256 else {
      throw TemperError(.invalidArgument, "\"parameters\" is a table of at most 256 parameters by name.")
    }
    var parameters: [Parameter] = []
    for member in members { parameters.append(try parameter(member.name, member.value)) }
    return parameters
  }

  /// A number stands for {default = number}.
  private func parameter(_ name: String, _ json: JSON) throws(TemperError) -> Parameter {
    var json = json
    if case .object = json {} else { json = .object([JSON.Member("default", json)]) }
    let keys = try Keys(json, "parameter \(name)", ["default", "type", "range", "choices", "doc"])
    let name = try keys.nameOf(name)
    let summary = try keys.text("doc") ?? ""
    let interval = try keys.interval("range") ?? .any
    switch (keys["default"], try keys.text("type")) {
    case (.boolean(let flag)?, nil), (.boolean(let flag)?, "boolean"?): return .boolean(name, flag, summary)
    case (.integer(let number)?, "integer"?):
      let low = interval.lower.isFinite ? Int(exactly: interval.lower) : .min
      let high = interval.upper.isFinite ? Int(exactly: interval.upper) : .max
      guard let low, let high, low <= high, (low...high).contains(number) else {
        throw keys.wrong("the range of an integer has whole numbers, and its default lies in it")
      }
      return .integer(name, number, in: low...high, summary)
    case (.integer(let number)?, nil), (.integer(let number)?, "real"?):
      return try real(name, Double(number), interval, summary, keys)
    case (.real(let number)?, nil), (.real(let number)?, "real"?):
      return try real(name, number, interval, summary, keys)
    case (.text(let text)?, nil), (.text(let text)?, "text"?):
      guard let choices = keys["choices"] else { return .text(name, text, summary) }
      var words: [String] = []
      if case .array(let items) = choices {
        for case .text(let word) in items { words.append(word) }
      }
      guard words.contains(text) else { throw keys.wrong("its default is one of its \"choices\", a list of texts") }
      return .choice(name, words, initial: text, summary)
    default:
      throw keys.wrong(
        "it has a \"default\": a number, true or false, or a text; \"type\" may say real, integer, boolean or text")
    }
  }

  private func real(
    _ name: String, _ number: Double, _ interval: Interval, _ summary: String, _ keys: Keys
  ) throws(TemperError) -> Parameter {
    guard interval.contains(number) else {
      throw keys.wrong("its default \(number) lies outside its range \(interval.description)")
    }
    return .real(name, number, in: interval, summary)
  }
}

/// An object whose names are known: an unknown one is an error that lists them.
private struct Keys {
  private let json: JSON
  private let what: String

  init(_ json: JSON, _ what: String, _ known: [String]) throws(TemperError) {
    (self.json, self.what) = (json, what)
    guard case .object(let members) = json else { throw wrong("a table was expected") }
    if let other = members.first(where: { !known.contains($0.name) }) {
      throw wrong("\"\(other.name)\" is unknown here; there are \(known.joined(separator: ", "))")
    }
  }

  subscript(key: String) -> JSON? { json[key] }

  func wrong(_ why: String) -> TemperError {
    TemperError(.invalidArgument, "\(what.prefix(1).uppercased() + what.dropFirst()): \(why).")
  }

  func text(_ key: String) throws(TemperError) -> String? {
    guard let value = json[key] else { return nil }
    guard case .text(let text) = value, !text.isEmpty, !text.utf8.contains(0) else {
      throw wrong("\"\(key)\" is a text")
    }
    return text
  }

  func required(_ key: String) throws(TemperError) -> String {
    guard let text = try text(key) else { throw wrong("\"\(key)\" is missing") }
    return text
  }

  func flag(_ key: String) throws(TemperError) -> Bool? {
    guard let value = json[key] else { return nil }
    guard case .boolean(let flag) = value else { throw wrong("\"\(key)\" is true or false") }
    return flag
  }

  func name(_ key: String) throws(TemperError) -> String { try nameOf(try required(key)) }

  func nameOf(_ name: String) throws(TemperError) -> String {
    guard InputRules.isName(name) else {
      throw wrong("\"\(name.prefix(80))\" is no name; names have lower-case letters, digits and _")
    }
    return name
  }

  /// "[0, 1)", or [0, 1], which includes both.
  func interval(_ key: String) throws(TemperError) -> Interval? {
    guard let value = json[key] else { return nil }
    var bounds: [Double] = []
    var (includesLower, includesUpper) = (true, true)
    switch value {
    case .array(let items):
      for item in items {
        if case .integer(let number) = item { bounds.append(Double(number)) }
        if case .real(let number) = item { bounds.append(number) }
      }
    case .text(let text):
      let inner = text.dropFirst().dropLast().split(separator: ",").map { $0.filter { $0 != " " } }
      bounds = inner.compactMap { ["inf", "-inf"].contains($0) ? ($0 == "inf" ? .infinity : -.infinity) : Double($0) }
      let (first, last) = (text.first, text.last)
      if (first != "[" && first != "(") || (last != "]" && last != ")") { bounds = [] }
      (includesLower, includesUpper) = (first == "[", last == "]")
    default: break
    }
    guard bounds.count == 2, bounds[0] < bounds[1] else {
      throw wrong("\"\(key)\" is an interval such as \"[0, 1)\" or [0, 1]")
    }
    return Interval(bounds[0], bounds[1], includesLower: includesLower, includesUpper: includesUpper)
  }
}
