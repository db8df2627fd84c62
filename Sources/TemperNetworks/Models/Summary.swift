import TemperCore

/// A layer as the summary shows it.
struct SummaryRow: Sendable {
  let path: String
  let name: String
  let output: Shape
  let parameterCount: Int
}

extension Model {
  package var parameterCount: Int { parameters.reduce(0) { $0 + $1.shape.count } }

  /// A table of the layers, what comes out of them, and how many parameters they have.
  package func summary() -> String {
    func batch(_ shape: Shape) -> String { "(" + (["N"] + shape.sizes.map(String.init)).joined(separator: ", ") + ")" }
    var lines = [["layer", "output", "parameters"], ["input", batch(input.shape), "0"]]
    for row in rows {
      let depth = row.path.utf8.count { $0 == UInt8(ascii: ".") }
      lines.append([
        String(repeating: "  ", count: depth) + row.path + " " + row.name, batch(row.output),
        Model.grouped(row.parameterCount),
      ])
    }
    let widths = (0..<3).map { column in lines.map { $0[column].count }.max() ?? 0 }
    let rule = String(repeating: "-", count: widths.reduce(4, +))
    var text = lines.map { line in
      let (a, b, c) = (line[0], line[1], line[2])
      func space(_ count: Int) -> String { String(repeating: " ", count: count) }
      return a + space(widths[0] - a.count + 2) + b + space(widths[1] - b.count + 2 + widths[2] - c.count) + c
    }
    text.insert(rule, at: 1)
    let bytes = parameterCount * dtype.byteCount
    text += [rule, "\(Model.grouped(parameterCount)) parameters, \(dtype.name), \(Model.grouped(bytes)) bytes"]
    return text.joined(separator: "\n") + "\n"
  }

  /// 1234567 as 1,234,567.
  private static func grouped(_ number: Int) -> String {
    var digits = Array(String(number))
    for at in stride(from: digits.count - 3, to: 0, by: -3) { digits.insert(",", at: at) }
    return String(digits)
  }
}
