/// How a plug-in is loaded.
package struct LoadOptions: Sendable {
  /// For each loss in the probe, and for each call in a process of its own.
  package var milliseconds: Int32 = 10_000
  /// Folders where an embedded interpreter of Python finds modules.
  package var pythonFolders: [String] = []
  /// A process of its own; nil: this one.
  package var isolation: IsolationOptions?

  package init() {}

  /// What a probe's result depends on beside the plug-in's content.
  var manner: String { pythonFolders.joined(separator: ":") + (isolation == nil ? "" : " isolated") }
}
