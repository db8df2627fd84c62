import TemperCore

/// A loss as a line of text, taken apart: `(1 - p[y]^q) / q`. The grammar, loosest first:
///
///     formula    = { NAME "=" expression ";" } expression
///     expression = and { "or" and }
///     and        = not { "and" not }
///     not        = "not" not | comparison
///     comparison = sum [ ("<" | "<=" | ">" | ">=" | "==" | "!=") sum ]
///     sum        = product { ("+" | "-") product }
///     product    = factor { ("*" | "/" | "%") factor }
///     factor     = ("-" | "+") factor | power
///     power      = element [ ("^" | "**") factor ]
///     element    = primary { "[" expression "]" }
///     primary    = NUMBER | NAME | NAME "(" expression { "," expression } ")" | "(" expression ")"
struct FormulaText: Sendable {
  let text: String
  let bindings: [(name: String, value: FormulaNode)]
  let result: FormulaNode

  init(_ text: String) throws(TemperError) {
    var parser = try FormulaParser(text)
    self.text = text
    (bindings, result) = try parser.formula()
  }

  /// All names that it reads and does not bind itself.
  var names: Set<String> {
    var names = result.names
    for (name, value) in bindings.reversed() {
      names.remove(name)
      names.formUnion(value.names)
    }
    return names
  }
}

indirect enum FormulaNode: Sendable {
  case number(Double)
  case name(String, column: Int)
  case unary(String, FormulaNode, column: Int)
  case binary(String, FormulaNode, FormulaNode, column: Int)
  case call(String, [FormulaNode], column: Int)
  /// base[index]
  case element(FormulaNode, FormulaNode, column: Int)

  fileprivate var names: Set<String> {
    switch self {
    case .number: []
    case .name(let name, _): [name]
    case .unary(_, let a, _): a.names
    case .binary(_, let a, let b, _), .element(let a, let b, _): a.names.union(b.names)
    case .call(_, let arguments, _): arguments.reduce(into: []) { $0.formUnion($1.names) }
    }
  }
}

private struct FormulaParser {
  enum Token: Equatable {
    case number(Double)
    case name(String)
    case symbol(String)
    case end

    var words: String {
      switch self {
      case .number(let value): "the number \(value)"
      case .name(let name): "\"\(name)\""
      case .symbol(let symbol): "\"\(symbol)\""
      case .end: "its end"
      }
    }
  }

  static let longest = 4096
  static let deepest = 100
  private static let symbols = ["**", "<=", ">=", "==", "!="] + "+-*/%^<>()[],;=".map { String($0) }

  private let text: String
  private var tokens: [(token: Token, column: Int)] = []
  private var at = 0
  private var depth = 0

  init(_ text: String) throws(TemperError) {
    self.text = text
    guard text.utf8.count <= FormulaParser.longest else {
      throw TemperError(.invalidArgument, "A formula has at most \(FormulaParser.longest) characters.")
    }
    let bytes = Array(text.utf8)
    var place = 0
    while place < bytes.count {
      let byte = bytes[place]
      if byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D {
        place += 1
        continue
      }
      let start = place
      if byte.isDigit || byte == UInt8(ascii: ".") && place + 1 < bytes.count && bytes[place + 1].isDigit {
        while place < bytes.count, bytes[place].isDigit || bytes[place] == UInt8(ascii: ".") { place += 1 }
        if place < bytes.count, bytes[place] | 0x20 == UInt8(ascii: "e") {
          var exponent = place + 1
          if exponent < bytes.count, bytes[exponent] == UInt8(ascii: "-") || bytes[exponent] == UInt8(ascii: "+") {
            exponent += 1
          }
          if exponent < bytes.count, bytes[exponent].isDigit {
            place = exponent
            while place < bytes.count, bytes[place].isDigit { place += 1 }
          }
        }
        let word = String(decoding: bytes[start..<place], as: UTF8.self)
        guard let number = Double(word), number.isFinite else { throw error("\"\(word)\" is not a number", start + 1) }
        tokens.append((.number(number), start + 1))
      } else if byte.isLetter {
        while place < bytes.count, bytes[place].isLetter || bytes[place].isDigit { place += 1 }
        tokens.append((.name(String(decoding: bytes[start..<place], as: UTF8.self)), start + 1))
      } else if let symbol = FormulaParser.symbols.first(where: { bytes[place...].starts(with: $0.utf8) }) {
        place += symbol.utf8.count
        tokens.append((.symbol(symbol), start + 1))
      } else {
        throw error("nothing in a formula begins like this", start + 1)
      }
    }
    tokens.append((.end, bytes.count + 1))
  }

  mutating func formula() throws(TemperError) -> ([(name: String, value: FormulaNode)], FormulaNode) {
    var bindings: [(name: String, value: FormulaNode)] = []
    while case .name(let name) = token, tokens[at + 1].token == .symbol("=") {
      at += 2
      bindings.append((name, try expression()))
      guard take(";") else { throw error("\";\" was expected after the value of \(name), and \(token.words) came") }
    }
    let result = try expression()
    guard token == .end else { throw error("an operator or the end was expected, and \(token.words) came") }
    return (bindings, result)
  }

  private var token: Token { tokens[at].token }
  private var column: Int { tokens[at].column }

  private mutating func take(_ symbol: String) -> Bool {
    guard token == .symbol(symbol) || token == .name(symbol) else { return false }
    at += 1
    return true
  }

  private func error(_ what: String, _ column: Int? = nil) -> TemperError {
    formulaError(text, column ?? self.column, what)
  }

  private mutating func nested<T>(_ read: (inout FormulaParser) throws(TemperError) -> T) throws(TemperError) -> T {
    depth += 1
    defer { depth -= 1 }
    guard depth <= FormulaParser.deepest else {
      throw error("it is nested deeper than \(FormulaParser.deepest) levels")
    }
    return try read(&self)
  }

  private mutating func expression() throws(TemperError) -> FormulaNode {
    try nested { (parser) throws(TemperError) in
      try parser.chain(["or"]) { (parser) throws(TemperError) in
        try parser.chain(["and"]) { (parser) throws(TemperError) in try parser.negation() }
      }
    }
  }

  /// Operators of one rank, from the left.
  private mutating func chain(
    _ operators: [String], _ operand: (inout FormulaParser) throws(TemperError) -> FormulaNode
  ) throws(TemperError) -> FormulaNode {
    var left = try operand(&self)
    while true {
      let column = column
      guard let found = operators.first(where: { token == .symbol($0) || token == .name($0) }) else { return left }
      at += 1
      left = .binary(found, left, try operand(&self), column: column)
    }
  }

  private mutating func negation() throws(TemperError) -> FormulaNode {
    let column = column
    if take("not") {
      return .unary("not", try nested { (parser) throws(TemperError) in try parser.negation() }, column: column)
    }
    let left = try sum()
    for symbol in ["<", "<=", ">", ">=", "==", "!="] where token == .symbol(symbol) {
      let column = self.column
      at += 1
      return .binary(symbol, left, try sum(), column: column)
    }
    return left
  }

  private mutating func sum() throws(TemperError) -> FormulaNode {
    try chain(["+", "-"]) { (parser) throws(TemperError) in
      try parser.chain(["*", "/", "%"]) { (parser) throws(TemperError) in try parser.factor() }
    }
  }

  private mutating func factor() throws(TemperError) -> FormulaNode {
    let column = column
    if take("-") {
      return .unary("-", try nested { (parser) throws(TemperError) in try parser.factor() }, column: column)
    }
    if take("+") { return try nested { (parser) throws(TemperError) in try parser.factor() } }
    let base = try element()
    let place = self.column
    guard take("^") || take("**") else { return base }
    return .binary("^", base, try nested { (parser) throws(TemperError) in try parser.factor() }, column: place)
  }

  private mutating func element() throws(TemperError) -> FormulaNode {
    var base = try primary()
    while token == .symbol("[") {
      let column = column
      at += 1
      let index = try expression()
      guard take("]") else { throw error("\"]\" was expected, and \(token.words) came") }
      base = .element(base, index, column: column)
    }
    return base
  }

  private mutating func primary() throws(TemperError) -> FormulaNode {
    let column = column
    switch token {
    case .number(let value):
      at += 1
      return .number(value)
    case .name(let name) where !["and", "or", "not"].contains(name):
      at += 1
      guard take("(") else { return .name(name, column: column) }
      var arguments = [try expression()]
      while take(",") { arguments.append(try expression()) }
      guard take(")") else { throw error("\",\" or \")\" was expected, and \(token.words) came") }
      return .call(name, arguments, column: column)
    case .symbol("("):
      at += 1
      let inner = try expression()
      guard take(")") else { throw error("\")\" was expected, and \(token.words) came") }
      return inner
    default: throw error("a value was expected, and \(token.words) came")
    }
  }
}

/// An error of a formula, with the place under a caret.
func formulaError(_ text: String, _ column: Int, _ what: String) -> TemperError {
  TemperError(.invalidArgument, "Formula, column \(column): \(what), in \"\(text)\".")
}

extension UInt8 {
  fileprivate var isDigit: Bool { UInt8(ascii: "0")...UInt8(ascii: "9") ~= self }
  fileprivate var isLetter: Bool {
    UInt8(ascii: "a")...UInt8(ascii: "z") ~= self || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= self
      || self == UInt8(ascii: "_")
  }
}
