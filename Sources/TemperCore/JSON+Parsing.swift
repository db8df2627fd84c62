extension JSON {
  /// Strict: no comments, trailing commas, duplicate names, NaN, lone surrogates or text after the value. Errors name
  /// line and column.
  package init(parsing bytes: [UInt8], maximumDepth: Int = 64) throws(TemperError) {
    var reader = JSONReader(bytes, maximumDepth: maximumDepth)
    self = try reader.document()
  }

  package init(parsing text: String, maximumDepth: Int = 64) throws(TemperError) {
    try self.init(parsing: Array(text.utf8), maximumDepth: maximumDepth)
  }
}

private struct JSONReader {
  private let bytes: [UInt8]
  private var at = 0
  private var depth = 0
  private let maximumDepth: Int

  init(_ bytes: [UInt8], maximumDepth: Int) { (self.bytes, self.maximumDepth) = (bytes, maximumDepth) }

  mutating func document() throws(TemperError) -> JSON {
    let value = try value()
    skipSpace()
    guard at == bytes.count else { throw error("the end of the text was expected") }
    return value
  }

  private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

  private mutating func skipSpace() {
    while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { at += 1 }
  }

  private mutating func take(_ byte: Character) -> Bool {
    guard next == byte.asciiValue else { return false }
    at += 1
    return true
  }

  private func error(_ expected: String) -> TemperError {
    let before = bytes[..<at]
    let line = before.count { $0 == 0x0A } + 1
    let column = at - (before.lastIndex(of: 0x0A) ?? -1)
    let found =
      switch next {
      case nil: "the text ends"
      case .some(0x21...0x7E): "\"\(Character(Unicode.Scalar(bytes[at])))\" stands"
      case .some(let byte): "byte \(byte) stands"
      }
    return TemperError(.invalidArgument, "JSON, line \(line), column \(column): \(expected), but \(found) there.")
  }

  private mutating func value() throws(TemperError) -> JSON {
    skipSpace()
    switch next {
    case UInt8(ascii: "{"): return try nested { (reader) throws(TemperError) in try reader.object() }
    case UInt8(ascii: "["): return try nested { (reader) throws(TemperError) in try reader.array() }
    case UInt8(ascii: "\""): return .text(try string())
    case UInt8(ascii: "-"), .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return try number()
    default:
      for (word, value) in [("true", JSON.boolean(true)), ("false", .boolean(false)), ("null", .null)]
      where bytes[at...].starts(with: word.utf8) {
        at += word.utf8.count
        return value
      }
      throw error("a value was expected")
    }
  }

  private mutating func nested(_ body: (inout JSONReader) throws(TemperError) -> JSON) throws(TemperError) -> JSON {
    guard depth < maximumDepth else { throw error("at most \(maximumDepth) nested brackets may stand") }
    depth += 1
    at += 1
    let value = try body(&self)
    depth -= 1
    return value
  }

  private mutating func array() throws(TemperError) -> JSON {
    var elements: [JSON] = []
    skipSpace()
    if take("]") { return .array([]) }
    while true {
      elements.append(try value())
      skipSpace()
      if take("]") { return .array(elements) }
      guard take(",") else { throw error("a comma or \"]\" was expected") }
    }
  }

  private mutating func object() throws(TemperError) -> JSON {
    var members: [JSON.Member] = []
    var names: Set<String> = []
    skipSpace()
    if take("}") { return .object([]) }
    while true {
      skipSpace()
      guard next == UInt8(ascii: "\"") else { throw error("a name in quotes was expected") }
      let start = at
      let name = try string()
      guard names.insert(name).inserted else {
        at = start
        throw error("a name that has not occurred in this object was expected")
      }
      skipSpace()
      guard take(":") else { throw error("a colon was expected") }
      members.append(JSON.Member(name, try value()))
      skipSpace()
      if take("}") { return .object(members) }
      guard take(",") else { throw error("a comma or \"}\" was expected") }
    }
  }

  private mutating func digits() throws(TemperError) {
    let start = at
    while let byte = next, byte >= 0x30, byte <= 0x39 { at += 1 }
    guard at > start else { throw error("a digit was expected") }
  }

  private mutating func number() throws(TemperError) -> JSON {
    let start = at
    _ = take("-")
    if !take("0") { try digits() }
    var isWhole = true
    if take(".") {
      isWhole = false
      try digits()
    }
    if take("e") || take("E") {
      isWhole = false
      if !take("+") { _ = take("-") }
      try digits()
    }
    let text = String(decoding: bytes[start..<at], as: UTF8.self)
    if isWhole, let integer = Int(text) { return .integer(integer) }
    guard let real = Double(text), real.isFinite else {
      at = start
      throw error("a number in the range of float64 was expected")
    }
    return .real(real)
  }

  private mutating func string() throws(TemperError) -> String {
    let start = at
    at += 1
    var content: [UInt8] = []
    while let byte = next {
      switch byte {
      case UInt8(ascii: "\""):
        guard let text = String(validating: content, as: UTF8.self) else {
          at = start
          throw error("a text in UTF-8 was expected")
        }
        at += 1
        return text
      case UInt8(ascii: "\\"):
        at += 1
        content.append(contentsOf: String(try escape()).utf8)
      case 0..<0x20: throw error("control characters in a text must be escaped")
      default:
        content.append(byte)
        at += 1
      }
    }
    throw error("a closing quote was expected")
  }

  private mutating func escape() throws(TemperError) -> Unicode.Scalar {
    let simple: [Character: Unicode.Scalar] = [
      "\"": "\"", "\\": "\\", "/": "/", "b": "\u{8}", "f": "\u{C}", "n": "\n", "r": "\r", "t": "\t",
    ]
    if let byte = next, let scalar = simple[Character(Unicode.Scalar(byte))] {
      at += 1
      return scalar
    }
    guard take("u") else { throw error("an escape (\\n, \\\", \\u0041, …) was expected") }
    let high = try hexadecimal()
    if let scalar = Unicode.Scalar(high) { return scalar }
    // A code point beyond 16 bits comes as a pair of surrogates.
    guard high < 0xDC00, take("\\"), take("u") else { throw error("the second half of a surrogate pair was expected") }
    let low = try hexadecimal()
    guard (0xDC00...0xDFFF).contains(low),
      let scalar = Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))
    else { throw error("the second half of a surrogate pair was expected before here") }
    return scalar
  }

  private mutating func hexadecimal() throws(TemperError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
        throw error("four hexadecimal digits were expected")
      }
      value = value << 4 | UInt32(digit)
      at += 1
    }
    return value
  }
}
