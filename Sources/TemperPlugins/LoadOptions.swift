/// How a plug-in is loaded.
package struct LoadOptions: Sendable {
  /// For each loss in the probe.
  package var milliseconds: Int32 = 10_000
  /// Folders where an embedded interpreter of Python finds modules.
  package var pythonFolders: [String] = []

  package init() {}
}

extension LoadOptions {
  /// What a probe's result depends on beside the plug-in's content.
  var manner: String { pythonFolders.joined(separator: ":") }
}
