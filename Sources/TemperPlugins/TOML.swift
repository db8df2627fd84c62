import TemperCore

/// Reads TOML 1.0 (toml.io), the way people write declarations, into the value that JSON would give. All of it except
/// dates and times. Errors name line and column.
package struct TOMLReader {
  private let bytes: [UInt8]
  private var at = 0
  private var depth = 0
  private let firstLine: Int

  /// `firstLine`: the number of the text's first line in the file that it was taken from.
  package static func read(_ text: String, firstLine: Int = 1) throws(TemperError) -> JSON {
    var reader = TOMLReader(bytes: Array(text.utf8), firstLine: firstLine)
    return try reader.document().json
  }

  private init(bytes: [UInt8], firstLine: Int) { (self.bytes, self.firstLine) = (bytes, firstLine) }

  private mutating func document() throws(TemperError) -> Table {
    let root = Table()
    var table = root
    while true {
      skipBlank()
      guard let byte = next else { return root }
      if byte == UInt8(ascii: "[") {
        at += 1
        let isList = take("[")
        let path = try keyPath()
        guard take("]"), !isList || take("]") else { throw error("\"]\" was expected") }
        table = try isList ? root.appended(at: path, self) : root.table(at: path, self, isHeader: true)
      } else {
        try pair(into: table)
      }
      skipSpace()
      guard next == nil || next == 0x0A || next == 0x0D || next == UInt8(ascii: "#") else {
        throw error("the end of the line was expected")
      }
    }
  }

  private mutating func pair(into table: Table) throws(TemperError) {
    let path = try keyPath()
    guard take("=") else { throw error("\"=\" was expected") }
    let target = try table.table(at: Array(path.dropLast()), self, isHeader: false)
    let value = try value()
    guard target.set(path[path.count - 1], value) else {
      throw error("\(path.joined(separator: ".")) is given twice", isPlace: false)
    }
  }

  private mutating func keyPath() throws(TemperError) -> [String] {
    var path: [String] = []
    repeat {
      skipSpace()
      switch next {
      case UInt8(ascii: "\""), UInt8(ascii: "'"): path.append(try string())
      default:
        let start = at
        while let byte = next, byte.isBareKey { at += 1 }
        guard at > start else { throw error("a name was expected") }
        path.append(String(decoding: bytes[start..<at], as: UTF8.self))
      }
      skipSpace()
    } while take(".")
    return path
  }

  private mutating func value() throws(TemperError) -> JSON {
    skipSpace()
    switch next {
    case UInt8(ascii: "\""), UInt8(ascii: "'"): return .text(try string())
    case UInt8(ascii: "["): return try nested { (reader) throws(TemperError) in try reader.array() }
    case UInt8(ascii: "{"): return try nested { (reader) throws(TemperError) in try reader.inlineTable() }
    default: return try word()
    }
  }

  private mutating func nested(
    _ read: (inout TOMLReader) throws(TemperError) -> JSON
  ) throws(TemperError) -> JSON {
    guard depth < 32 else { throw error("at most 32 levels are possible") }
    at += 1
    depth += 1
    defer { depth -= 1 }
    return try read(&self)
  }

  private mutating func array() throws(TemperError) -> JSON {
    var values: [JSON] = []
    while true {
      skipBlank()
      if take("]") { return .array(values) }
      values.append(try value())
      skipBlank()
      guard take(",") || next == UInt8(ascii: "]") else { throw error("\",\" or \"]\" was expected") }
    }
  }

  private mutating func inlineTable() throws(TemperError) -> JSON {
    let table = Table()
    skipSpace()
    if take("}") { return table.json }
    while true {
      try pair(into: table)
      skipSpace()
      if take("}") { return table.json }
      guard take(",") else { throw error("\",\" or \"}\" was expected") }
    }
  }

  /// true, false, and numbers.
  private mutating func word() throws(TemperError) -> JSON {
    let start = at
    while let byte = next, byte.isBareKey || byte == UInt8(ascii: "+") || byte == UInt8(ascii: ".") { at += 1 }
    let word = String(decoding: bytes[start..<at], as: UTF8.self)
    let digits = word.filter { $0 != "_" }
    switch word {
    case "true": return .boolean(true)
    case "false": return .boolean(false)
    case "inf", "+inf": return .real(.infinity)
    case "-inf": return .real(-.infinity)
    default:
      for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] where digits.hasPrefix(prefix) {
        if let number = Int(digits.dropFirst(2), radix: radix) { return .integer(number) }
      }
      if let number = Int(digits) { return .integer(number) }
      if let first = digits.utf8.first, first.isNumberStart, let number = Double(digits), number.isFinite {
        return .real(number)
      }
      at = start
      throw error("a value was expected")
    }
  }

  private mutating func string() throws(TemperError) -> String {
    let quote = bytes[at]
    let isLong = at + 2 < bytes.count && bytes[at + 1] == quote && bytes[at + 2] == quote
    at += isLong ? 3 : 1
    if isLong {
      if next == 0x0D { at += 1 }
      if next == 0x0A { at += 1 }
    }
    var text: [UInt8] = []
    while let byte = next {
      if byte == quote {
        let isEnd = !isLong || at + 2 < bytes.count && bytes[at + 1] == quote && bytes[at + 2] == quote
        // Of more than three quotes the last three end the text.
        if isEnd, isLong, at + 3 < bytes.count, bytes[at + 3] == quote {
          text.append(quote)
          at += 1
          continue
        }
        if isEnd {
          at += isLong ? 3 : 1
          guard let string = String(validating: text, as: UTF8.self) else {
            throw error("the text before this is not UTF-8", isPlace: false)
          }
          return string
        }
      }
      if byte == UInt8(ascii: "\\"), quote == UInt8(ascii: "\"") {
        at += 1
        text += try escape(isLong: isLong)
        continue
      }
      guard isLong || byte != 0x0A else { throw error("the closing quote was expected") }
      text.append(byte)
      at += 1
    }
    throw error("the closing quote was expected")
  }

  private mutating func escape(isLong: Bool) throws(TemperError) -> [UInt8] {
    guard let byte = next else { throw error("the closing quote was expected") }
    at += 1
    switch byte {
    case UInt8(ascii: "n"): return [0x0A]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "r"): return [0x0D]
    case UInt8(ascii: "\""), UInt8(ascii: "\\"): return [byte]
    case UInt8(ascii: "u"), UInt8(ascii: "U"):
      let count = byte == UInt8(ascii: "u") ? 4 : 8
      if at + count <= bytes.count,
        let number = UInt32(String(decoding: bytes[at..<(at + count)], as: UTF8.self), radix: 16),
        let scalar = Unicode.Scalar(number)
      {
        at += count
        return Array(String(Character(scalar)).utf8)
      }
    case 0x0A, 0x0D, 0x20, 0x09:
      // A backslash at the end of a line joins it with the next.
      if isLong {
        while let byte = next, byte == 0x0A || byte == 0x0D || byte == 0x20 || byte == 0x09 { at += 1 }
        return []
      }
    default: break
    }
    at -= 1
    throw error("a character that may follow a backslash was expected")
  }

  private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

  private mutating func take(_ character: Character) -> Bool {
    guard next == character.asciiValue else { return false }
    at += 1
    return true
  }

  private mutating func skipSpace() { while let byte = next, byte == 0x20 || byte == 0x09 { at += 1 } }

  /// Spaces, ends of lines, comments.
  private mutating func skipBlank() {
    while let byte = next {
      if byte == UInt8(ascii: "#") {
        while let byte = next, byte != 0x0A { _ = byte; at += 1 }
      } else if byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D {
        at += 1
      } else {
        return
      }
    }
  }

  fileprivate func error(_ what: String, isPlace: Bool = true) -> TemperError {
    let before = bytes[..<at]
    let line = before.count { $0 == 0x0A } + firstLine
    let column = at - (before.lastIndex(of: 0x0A) ?? -1)
    let found = next.map { $0 == 0x0A ? "the line ends" : "\"\(Character(Unicode.Scalar($0)))\" stands" }
    return TemperError(
      .invalidArgument,
      "TOML, line \(line), column \(column): \(what)" + (isPlace ? ", but \(found ?? "the text ends") there." : "."))
  }
}

/// A table while it is filled: later headers may add to it.
private final class Table {
  enum Entry {
    case value(JSON)
    case table(Table)
    case list([Table])
  }
  private var entries: [(name: String, entry: Entry)] = []
  private var isDefined = false

  func set(_ name: String, _ value: JSON) -> Bool {
    guard !entries.contains(where: { $0.name == name }) else { return false }
    entries.append((name, .value(value)))
    return true
  }

  /// The table at a path, made where it is missing; of a list of tables the last.
  func table(at path: [String], _ reader: TOMLReader, isHeader: Bool) throws(TemperError) -> Table {
    var table = self
    for name in path {
      switch table.entries.first(where: { $0.name == name })?.entry {
      case nil:
        let made = Table()
        table.entries.append((name, .table(made)))
        table = made
      case .table(let known)?: table = known
      case .list(let tables)?: table = tables[tables.count - 1]
      case .value?: throw reader.error("\(name) is a value and cannot be a table too", isPlace: false)
      }
    }
    if isHeader {
      guard !table.isDefined else {
        throw reader.error("the table \(path.joined(separator: ".")) is given twice", isPlace: false)
      }
      table.isDefined = true
    }
    return table
  }

  /// A new table at the end of the list at a path.
  func appended(at path: [String], _ reader: TOMLReader) throws(TemperError) -> Table {
    let holder = try table(at: Array(path.dropLast()), reader, isHeader: false)
    let (name, made) = (path[path.count - 1], Table())
    guard let index = holder.entries.firstIndex(where: { $0.name == name }) else {
      holder.entries.append((name, .list([made])))
      return made
    }
    guard case .list(let tables) = holder.entries[index].entry else {
      throw reader.error("\(name) is not a list of tables", isPlace: false)
    }
    holder.entries[index].entry = .list(tables + [made])
    return made
  }

  var json: JSON {
    .object(
      entries.map { name, entry in
        switch entry {
        case .value(let value): JSON.Member(name, value)
        case .table(let table): JSON.Member(name, table.json)
        case .list(let tables): JSON.Member(name, .array(tables.map(\.json)))
        }
      })
  }
}

extension UInt8 {
  fileprivate var isBareKey: Bool {
    UInt8(ascii: "a")...UInt8(ascii: "z") ~= self || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= self
      || UInt8(ascii: "0")...UInt8(ascii: "9") ~= self || self == UInt8(ascii: "_") || self == UInt8(ascii: "-")
  }

  fileprivate var isNumberStart: Bool {
    UInt8(ascii: "0")...UInt8(ascii: "9") ~= self || self == UInt8(ascii: "-") || self == UInt8(ascii: "+")
  }
}
