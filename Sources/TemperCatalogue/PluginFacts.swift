import Synchronization
import TemperCore

/// What is known of a method that a plug-in brought.
package struct PluginFacts: Sendable {
  /// The ways in which a loss may be written.
  package enum Form: String, Sendable, Hashable { case function, composed, formula, foreign, python }

  /// Where its gradient comes from: derived by the host, computed by the plug-in, or taken from differences.
  package enum Gradient: String, Sendable, Hashable { case host, own, numerical }

  package let name: String, version: String, licence: String
  package let form: Form
  package let gradient: Gradient
  package let isIsolated: Bool
  /// Counts what is made from the plug-in's methods.
  package let uses: Uses

  package init(
    name: String, version: String, licence: String, form: Form, gradient: Gradient, isIsolated: Bool, uses: Uses
  ) {
    (self.name, self.version, self.licence) = (name, version, licence)
    (self.form, self.gradient, self.isIsolated, self.uses) = (form, gradient, isIsolated, uses)
  }

  var json: JSON {
    .object([
      JSON.Member("name", .text(name)), JSON.Member("version", .text(version)),
      JSON.Member("licence", .text(licence)), JSON.Member("form", .text(form.rawValue)),
      JSON.Member("gradient", .text(gradient.rawValue)), JSON.Member("isolated", .boolean(isIsolated)),
    ])
  }

  var documentation: String {
    "\(name) \(version), \(licence); form: \(form.rawValue)\(isIsolated ? ", in a process of its own" : ""); gradient: "
      + (gradient == .host ? "derived by the host" : gradient == .own ? "its own" : "numerical, by central differences")
  }
}

/// How many live objects were made from a plug-in's methods: it is not taken away under them.
package final class Uses: Sendable {
  private let state = Mutex((count: 0, isClosed: false))

  package init() {}

  /// One more, for as long as what this gives lives.
  func begin() throws(TemperError) -> Use {
    let isClosed = state.withLock { state in
      if !state.isClosed { state.count += 1 }
      return state.isClosed
    }
    guard !isClosed else { throw TemperError(.wrongState, "The plug-in was unloaded.") }
    return Use(self)
  }

  fileprivate func end() { state.withLock { $0.count -= 1 } }

  /// Refuses uses from now on; with some alive, says how many and does nothing.
  package func close() -> Int {
    state.withLock { state in
      if state.count == 0 { state.isClosed = true }
      return state.count
    }
  }
}

/// A live object made from a plug-in's method.
package final class Use: Sendable {
  private let uses: Uses
  fileprivate init(_ uses: Uses) { self.uses = uses }
  deinit { uses.end() }
}

extension Method {
  /// Uses of the plug-ins that it and its parts came with.
  func beginUses() throws(TemperError) -> [Use] {
    var uses: [Use] = []
    if let plugin { uses.append(try plugin.uses.begin()) }
    for part in parts { uses += try part.beginUses() }
    return uses
  }
}
