import TemperCatalogue
import TemperCore

/// A plug-in that was loaded and probed; its losses are in the catalogue.
package struct LoadedPlugin: Sendable {
  package let name: String
  /// What the probe found, a line for each check.
  package let report: String
  /// The full names of its losses.
  package let methods: [String]
  private let uses: Uses
  private let catalogue: Catalogue

  init(name: String, report: String, methods: [String], uses: Uses, catalogue: Catalogue) {
    (self.name, self.report, self.methods) = (name, report, methods)
    (self.uses, self.catalogue) = (uses, catalogue)
  }

  /// Takes its losses out of the catalogue, unless something is made of them.
  package func unload() throws(TemperError) {
    let count = uses.close()
    guard count == 0 else {
      throw TemperError(
        .wrongState,
        "\(count) loss\(count == 1 ? "" : "es") made from it \(count == 1 ? "is" : "are") in use; free what uses them, and try again.",
        origin: name)
    }
    for method in methods { catalogue.remove(method) }
  }
}

/// What a plug-in file says of itself.
package struct PluginListing: Sendable {
  package let json: JSON
  package let text: String

  /// A file that is meant to be a plug-in and is none.
  init(_ path: String, _ error: TemperError) {
    json = .object([JSON.Member("path", .text(path)), JSON.Member("error", .text(error.message))])
    text = "\(path): \(error.message)\n"
  }

  init(_ source: PluginSource) {
    let declaration = source.declaration
    let methods = declaration.losses.map { loss in
      Method(
        declaration.name + "." + loss.name, kind: .loss, area: "plugin", summary: loss.summary,
        parameters: loss.parameters, inputs: loss.inputs, state: loss.states, origin: declaration.origin,
        implementation: .component(loss.kind.form.rawValue))
    }
    var members = [
      JSON.Member("name", .text(declaration.name)), JSON.Member("version", .text(declaration.version)),
      JSON.Member("licence", .text(declaration.licence)), JSON.Member("summary", .text(declaration.summary)),
      JSON.Member("losses", .array(methods.map(\.json))),
      JSON.Member("forms", .array(declaration.losses.map { .text($0.kind.form.rawValue) })),
      JSON.Member("skipped", .array(declaration.skipped.map { .text($0) })),
      JSON.Member("path", .text(source.path)),
    ]
    if case .library(let descriptor) = source.content {
      members.append(JSON.Member("built_for", .integer(Int(descriptor.builtFor))))
    }
    json = .object(members)
    text =
      "\(declaration.origin)\(declaration.summary.isEmpty ? "" : ": " + declaration.summary)\n"
      + zip(methods, declaration.losses).map { "\n\($0.name) (\($1.kind.form.rawValue))\n\($0.documentation)" }.joined()
  }
}
