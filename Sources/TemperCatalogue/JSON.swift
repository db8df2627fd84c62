/// A value of JSON, written as text. Numbers that JSON has no word for (infinity) are written as texts.
package indirect enum JSON: Sendable {
  case null
  case boolean(Bool)
  case integer(Int)
  case real(Double)
  case text(String)
  case array([JSON])
  case object([(name: String, value: JSON)])

  package var description: String {
    var text = ""
    write(into: &text)
    return text
  }

  private func write(into text: inout String) {
    switch self {
    case .null: text += "null"
    case .boolean(let value): text += value ? "true" : "false"
    case .integer(let value): text += String(value)
    case .real(let value): text += value.isFinite ? String(value) : "\"\(value)\""
    case .text(let value): JSON.quote(value, into: &text)
    case .array(let items): JSON.list(items, "[", "]", into: &text) { $0.write(into: &$1) }
    case .object(let members):
      JSON.list(members, "{", "}", into: &text) { member, text in
        JSON.quote(member.name, into: &text)
        text += ": "
        member.value.write(into: &text)
      }
    }
  }

  private static func list<T>(
    _ items: [T], _ open: String, _ close: String, into text: inout String, _ each: (T, inout String) -> Void
  ) {
    text += open
    for (index, item) in items.enumerated() {
      if index > 0 { text += ", " }
      each(item, &text)
    }
    text += close
  }

  private static func quote(_ value: String, into text: inout String) {
    text += "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\t": text += "\\t"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
  }
}
