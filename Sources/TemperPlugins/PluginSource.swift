import TemperCore

/// A plug-in's file, by what is in it: a library, a Python file, or a declaration in TOML or JSON. Reading it runs
/// nothing of it.
struct PluginSource {
  enum Content {
    case library(Descriptor)
    case python(source: String)
    case declaration
  }

  let path: String
  let bytes: [UInt8]
  let content: Content
  let declaration: Declaration

  init(_ path: String) throws(TemperError) {
    self.path = path
    bytes = try LibraryFile.read(path)
    if path.hasSuffix(".py") {
      let source = try PluginSource.text(bytes)
      content = .python(source: source)
      declaration = try PluginSource.embedded(source)
    } else if path.hasSuffix(".toml") || path.hasSuffix(".json") {
      content = .declaration
      declaration = try DeclarationReader.read(try PluginSource.text(bytes), .file)
    } else {
      let descriptor = try Descriptor(try ElfImage(bytes))
      content = .library(descriptor)
      declaration = descriptor.declaration
    }
  }

  /// Whether a file may be a plug-in at all, by its name.
  static func isCandidate(_ name: String) -> Bool {
    [".so", ".py", ".toml", ".json"].contains { name.hasSuffix($0) && name.utf8.count > $0.utf8.count }
  }

  var folder: String { path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "." }

  private static func text(_ bytes: [UInt8]) throws(TemperError) -> String {
    guard bytes.count <= 1 << 22, !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else {
      throw TemperError(.pluginFailed, "It is not a text in UTF-8 of at most 4 MB.")
    }
    return text
  }

  /// The declaration in the comments of a Python file, from "# /// temper" to "# ///" (the form of PEP 723).
  private static func embedded(_ source: String) throws(TemperError) -> Declaration {
    var lines: [Substring] = []
    var start: Int?
    for (number, line) in source.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let line = line.hasSuffix("\r") ? line.dropLast() : line
      if let start {
        if line == "# ///" {
          return try DeclarationReader.read(lines.joined(separator: "\n"), .python, firstLine: start)
        }
        guard line == "#" || line.hasPrefix("# ") else { break }
        lines.append(line.dropFirst(2))
      } else if line == "# /// temper" {
        start = number + 2
      }
    }
    throw TemperError(
      .pluginFailed,
      start == nil
        ? "It has no declaration: comments from \"# /// temper\" to \"# ///\", with TOML in them."
        : "Its declaration, which begins with \"# /// temper\", does not end with \"# ///\".")
  }
}
