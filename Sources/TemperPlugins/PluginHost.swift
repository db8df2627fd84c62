import CTemper
import TemperCatalogue
import TemperCore
import TemperForeign
import TemperGraph

/// Brings plug-ins of every form into a catalogue.
package struct PluginHost: Sendable {
  package let catalogue: Catalogue
  package let workers: Workers
  /// Where plug-ins may come from; without any, an explicit path to any file may be loaded.
  package let directories: [String]
  package let log: @Sendable (_ level: Int32, _ line: String) -> Void

  package init(
    catalogue: Catalogue, workers: Workers, directories: [String],
    log: @escaping @Sendable (_ level: Int32, _ line: String) -> Void
  ) {
    (self.catalogue, self.workers, self.directories, self.log) = (catalogue, workers, directories, log)
  }

  /// What the file says of itself, without running any of it: as records of methods.
  package func inspect(_ path: String) throws(TemperError) -> PluginListing {
    do throws(TemperError) {
      return PluginListing(try PluginSource(try permitted(path)))
    } catch { throw error.from(path) }
  }

  /// Loads, probes, and adds to the catalogue; all losses or none.
  package func load(_ path: String, _ options: LoadOptions = LoadOptions()) throws(TemperError) -> LoadedPlugin {
    do throws(TemperError) {
      let source = try PluginSource(try permitted(path))
      try checkFree(source.declaration)
      let content = SHA256.hexadecimal(source.bytes)
      var arrival = Arrival(source.declaration, source.path, content: content, options)
      if case .library(let descriptor) = source.content, descriptor.builtFor != UInt32(TEMPER_PLUGIN_REVISION) {
        arrival.notes.append(
          "built for revision \(descriptor.builtFor) of temper_plugin.h, and this host has revision \(TEMPER_PLUGIN_REVISION): what both know is used"
        )
      }
      switch source.content {
      case .library(let descriptor): return try load(source, descriptor, arrival)
      case .python(let text): return try load(source, python: text, arrival)
      case .declaration: return try define(arrival, folder: source.folder)
      }
    } catch { throw error.from(path) }
  }

  /// Adds the losses that a text declares: formulas, and functions of libraries. With `callable`, an object of the
  /// Python that runs in this process, it declares what that is.
  package func define(
    _ text: String, callable: UnsafeMutableRawPointer? = nil, _ options: LoadOptions = LoadOptions()
  ) throws(TemperError) -> LoadedPlugin {
    let declaration = unsafe try DeclarationReader.read(text, callable == nil ? .file : .callable)
    do throws(TemperError) {
      try checkFree(declaration)
      guard let callable = unsafe callable else {
        return try define(
          Arrival(declaration, "a text", content: SHA256.hexadecimal(Array(text.utf8)), options), folder: nil)
      }
      guard options.isolation == nil else {
        throw TemperError(
          .unsupported, "A function that is handed over runs in this process; put it into a file to isolate it.")
      }
      guard declaration.losses.count == 1 else {
        throw TemperError(
          .invalidArgument, "A function that is handed over is one loss; \(declaration.losses.count) are declared.")
      }
      guard python_is_running() != 0 else {
        throw TemperError(
          .wrongState, "A Python function can be handed over where Python runs; load a .py file instead.")
      }
      return try bring(Arrival(declaration, "a Python function", content: nil, options)) { loss throws(TemperError) in
        guard case .python(let python) = loss.kind else { return .missing }
        return .function(unsafe try PythonFunction(python, loss, holder: callable))
      }
    } catch { throw error.from(declaration.name) }
  }

  /// Adds one formula with parameters that may be any numbers.
  package func define(
    formula text: String, name: String, parameters: [(name: String, value: Value)]
  ) throws(TemperError) -> LoadedPlugin {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    guard parts.count <= 2, parts.allSatisfy({ InputRules.isName($0) }) else {
      throw TemperError(
        .invalidArgument,
        "\"\(name)\" is no name: \"<namespace>.<name>\" or \"<name>\", of lower-case letters, digits and _."
      )
    }
    let formula = try FormulaText(text)
    var declared: [Parameter] = []
    for (name, value) in parameters {
      guard InputRules.isName(name) else {
        throw TemperError(.invalidArgument, "\"\(name)\" is no name of a parameter.")
      }
      switch value {
      case .real(let number): declared.append(.real(name, number, ""))
      case .integer(let number): declared.append(.integer(name, number, ""))
      case .boolean(let flag): declared.append(.boolean(name, flag, ""))
      case .text, .none:
        throw TemperError(.invalidArgument, "Parameter \(name) of a formula is a number, or true or false.")
      }
    }
    let inputs = try FormulaLoss.inputs(for: formula)
    let loss = LossDescriptor(
      kind: .formula(formula, isOfBatch: false), name: parts[parts.count - 1], summary: text, reference: nil,
      inputs: inputs, ranges: inputs.map { $0.isDifferentiable ? -2...2 : 0...1 }, parameters: declared)
    let declaration = Declaration(
      name: parts.count == 2 ? parts[0] : "user", version: "0", licence: "no licence stated", summary: "",
      losses: [loss])
    try checkFree(declaration)
    return try define(Arrival(declaration, "a formula", content: nil, LoadOptions()), folder: nil)
  }

  // Each form.

  private func load(
    _ source: PluginSource, _ descriptor: Descriptor, _ arrival: Arrival
  ) throws(TemperError) -> LoadedPlugin {
    if let isolation = arrival.options.isolation {
      let losses = arrival.declaration.losses
      return try bring(arrival, isolation, fork: nil) { () throws(TemperError) in
        let library = try Library.load(source.path, content: arrival.content ?? "", descriptor: descriptor.address)
        let instance = try Instance(library, descriptor) { _, _ in }
        var functions: [any BatchFunction] = []
        for loss in losses {
          guard case .function(let address, let hasFloat64, _) = loss.kind, let code = unsafe library.code(at: address)
          else { throw TemperError(.pluginFailed, "Its function has no address.") }
          functions.append(unsafe NativeFunction(instance, code: code, hasFloat64: hasFloat64))
        }
        return functions
      }
    }
    try rehearse(arrival) {
      guard let library = try? Library.load(source.path, content: arrival.content ?? "", descriptor: descriptor.address)
      else { return }
      _ = try? Instance(library, descriptor) { _, _ in }
    }
    let library = try Library.load(source.path, content: arrival.content ?? "", descriptor: descriptor.address)
    let instance = try Instance(library, descriptor, log: log)
    return try bring(arrival) { loss throws(TemperError) in
      switch loss.kind {
      case .function(let address, let hasFloat64, _):
        guard let code = unsafe library.code(at: address) else { return .missing }
        return .function(unsafe NativeFunction(instance, code: code, hasFloat64: hasFloat64))
      case .composed(let address, let isOfBatch):
        guard let code = unsafe library.code(at: address) else { return .missing }
        let composed = unsafe ComposedLoss(instance, loss, code: code, isOfBatch: isOfBatch)
        return .expression(isOfBatch: isOfBatch) { formula throws(TemperError) in try composed.build(formula) }
      case .formula, .foreign, .python: return .missing
      }
    }
  }

  private func load(
    _ source: PluginSource, python text: String, _ arrival: Arrival
  ) throws(TemperError) -> LoadedPlugin {
    let folders = arrival.options.pythonFolders
    if let isolation = arrival.options.isolation {
      let losses = arrival.declaration.losses
      return try bring(arrival, isolation, fork: python_fork) { () throws(TemperError) in
        let module = unsafe try PythonObject.make("load", [source.path, text], nil, folders: folders)
        var functions: [any BatchFunction] = []
        for loss in losses {
          guard case .python(let python) = loss.kind else { continue }
          functions.append(unsafe try PythonFunction(python, loss, holder: module.pointer))
        }
        return functions
      }
    }
    try rehearse(arrival, fork: python_fork) {
      _ = unsafe try? PythonObject.make("load", [source.path, text], nil, folders: folders)
    }
    let module = unsafe try PythonObject.make("load", [source.path, text], nil, folders: folders)
    return try bring(arrival) { loss throws(TemperError) in
      guard case .python(let python) = loss.kind else { return .missing }
      return .function(unsafe try PythonFunction(python, loss, holder: module.pointer))
    }
  }

  /// Formulas and functions of libraries. `folder`: where the declaration lies.
  private func define(_ arrival: Arrival, folder: String?) throws(TemperError) -> LoadedPlugin {
    var paths: [String: String] = [:]
    for loss in arrival.declaration.losses {
      if case .foreign(let foreign) = loss.kind, paths[foreign.library] == nil {
        paths[foreign.library] = try libraryPath(foreign.library, folder)
      }
    }
    let libraries = Array(paths.values)
    if let isolation = arrival.options.isolation {
      let (losses, found) = (arrival.declaration.losses, paths)
      return try bring(arrival, isolation, fork: nil) { () throws(TemperError) in
        var functions: [any BatchFunction] = []
        for loss in losses {
          guard case .foreign(let foreign) = loss.kind else { continue }
          functions.append(try ForeignFunction(foreign, loss, path: found[foreign.library] ?? foreign.library))
        }
        return functions
      }
    }
    if !libraries.isEmpty {
      try rehearse(arrival) { for path in libraries { _ = try? ForeignLibrary.load(path) } }
    }
    return try bring(arrival) { loss throws(TemperError) in
      switch loss.kind {
      case .formula(let text, let isOfBatch):
        let formula = FormulaLoss(formula: text, descriptor: loss, isOfBatch: isOfBatch)
        return .expression(isOfBatch: isOfBatch) { x throws(TemperError) in try formula.build(x) }
      case .foreign(let foreign):
        return .function(try ForeignFunction(foreign, loss, path: paths[foreign.library] ?? foreign.library))
      case .function, .composed, .python: return .missing
      }
    }
  }

  /// The path without symbolic links, if it lies in a directory that is allowed.
  private func permitted(_ path: String) throws(TemperError) -> String {
    let resolved = try LibraryFile.resolve(path)
    if directories.isEmpty { return resolved }
    for directory in directories {
      guard let root = try? LibraryFile.resolve(directory) else { continue }
      if resolved.hasPrefix(root == "/" ? "/" : root + "/") { return resolved }
    }
    throw TemperError(
      .pluginFailed,
      "It lies at \(resolved), outside the directories that the context allows: \(directories.joined(separator: ", "))."
    )
  }

  /// A library that a declaration names: a path, a file beside the declaration, or a name for the system's loader.
  private func libraryPath(_ name: String, _ folder: String?) throws(TemperError) -> String {
    if name.contains("/") {
      return try permitted(name.hasPrefix("/") || folder == nil ? name : "\(folder ?? ".")/\(name)")
    }
    if let folder, let beside = try? LibraryFile.resolve("\(folder)/\(name)") { return try permitted(beside) }
    // What is loaded already brings no new code.
    guard directories.isEmpty || ForeignLibrary.isLoaded(name) else {
      throw TemperError(
        .pluginFailed,
        "The library \"\(name)\" is none of this process, and none that lies in the directories that the context allows: \(directories.joined(separator: ", ")). Name it by its path."
      )
    }
    return name
  }

  private func checkFree(_ declaration: Declaration) throws(TemperError) {
    for loss in declaration.losses {
      let name = declaration.name + "." + loss.name
      if let holder = try? catalogue.find(name) {
        throw TemperError(
          .pluginFailed,
          "\"\(name)\" of \(declaration.origin) cannot be added: \(holder.origin ?? "Temper") has it already.")
      }
    }
  }

  /// Loads in a child first, so that a constructor, an init, or the body of a Python file that crashes does it there.
  private func rehearse(
    _ arrival: Arrival, fork: (@convention(c) () -> Int32)? = nil, _ body: () -> Void
  ) throws(TemperError) {
    if arrival.isKnown { return }
    do throws(TemperError) {
      _ = try isolated(milliseconds: arrival.options.milliseconds, fork: fork) {
        body()
        return 0
      }
    } catch {
      var error = error
      error.message = "Loading it in a child process failed: " + error.message
      throw error
    }
  }

  /// The same with losses that a process of its own computes; `make` runs there.
  private func bring(
    _ arrival: Arrival, _ isolation: IsolationOptions, fork: (@convention(c) () -> Int32)?,
    _ make: @escaping () throws(TemperError) -> [any BatchFunction]
  ) throws(TemperError) -> LoadedPlugin {
    let declaration = arrival.declaration
    for loss in declaration.losses where !loss.kind.canBeIsolated {
      throw TemperError(
        .unsupported,
        "A \(loss.kind.form.rawValue) loss runs in this process: it is made of the host's expressions.",
        origin: loss.name)
    }
    let process = try Isolation(
      isolation, milliseconds: arrival.options.milliseconds, fork: fork,
      log: { [log] line in log(2, "\(declaration.origin): \(line)") }, make)
    return try bring(arrival) { loss throws(TemperError) in
      let index = declaration.losses.firstIndex { $0.name == loss.name } ?? 0
      let traits = try loss.kind.traits(of: loss)
      return .function(
        IsolatedFunction(
          process: process, index: index, loss: loss, precisions: traits.precisions, hasGradient: traits.hasGradient))
    }
  }

  /// Makes every loss, probes it, and adds all of them.
  private func bring(
    _ arrival: Arrival, _ make: (LossDescriptor) throws(TemperError) -> LossBody
  ) throws(TemperError) -> LoadedPlugin {
    let declaration = arrival.declaration
    let uses = Uses()
    var lines = ["\(declaration.origin), \(arrival.place)"] + arrival.notes
    var methods: [Method] = []
    for loss in declaration.losses {
      do throws(TemperError) {
        let (method, found) = try probed(loss, try make(loss), arrival, uses)
        methods.append(method)
        lines += ["\(method.name) (\(loss.kind.form.rawValue))"] + found.map { "  " + $0 }
      } catch { throw error.from(declaration.name + "." + loss.name) }
    }
    for name in declaration.skipped {
      lines.append("\(declaration.name).\(name): of a kind that this host does not know; skipped")
      log(2, "\(declaration.origin): the loss \(name) is of a kind that this host does not know; it is skipped.")
    }
    try add(methods)
    return LoadedPlugin(
      name: declaration.name, report: lines.joined(separator: "\n") + "\n", methods: methods.map(\.name), uses: uses,
      catalogue: catalogue)
  }

  private func probed(
    _ loss: LossDescriptor, _ body: LossBody, _ arrival: Arrival, _ uses: Uses
  ) throws(TemperError) -> (Method, [String]) {
    let declaration = arrival.declaration
    let name = declaration.name + "." + loss.name
    // The short name too, where nobody has it.
    let isFree = (try? catalogue.find(loss.name)) == nil
    func record(
      _ gradient: PluginFacts.Gradient, isOfBatch: Bool = false, isIsolated: Bool = false,
      _ implementation: Implementation
    ) -> Method {
      var method = Method(
        name, aliases: isFree ? [loss.name] : [], kind: .loss, area: "plugin", summary: loss.summary,
        parameters: loss.parameters, inputs: loss.inputs, state: loss.states, properties: isOfBatch ? ["batch"] : [],
        origin: declaration.origin + (loss.reference.map { ", after " + $0 } ?? ""), implementation: implementation)
      method.plugin = PluginFacts(
        name: declaration.name, version: declaration.version, licence: declaration.licence, form: loss.kind.form,
        gradient: gradient, isIsolated: isIsolated, uses: uses)
      return method
    }
    switch body {
    case .function(let own):
      let function: any BatchFunction = own.hasGradient ? own : NumericalGradient(function: own)
      let external = FunctionLoss(function: function, descriptor: loss, origin: declaration.origin)
      let method = record(
        own.hasGradient ? .own : .numerical, isIsolated: own.isolation != nil,
        .loss { formula in external.build(formula) })
      let lines = try arrival.remembering(loss.name) { () throws(TemperError) in
        var probe = FunctionProbe(
          function, loss, isNumerical: !own.hasGradient, milliseconds: arrival.options.milliseconds)
        try probe.run()
        return probe.lines
      }
      return (method, (own.isolation.map { [$0.protections] } ?? []) + lines)
    case .expression(let isOfBatch, let build):
      let method = record(.host, isOfBatch: isOfBatch, .loss(build))
      let lines = try arrival.remembering(loss.name) { () throws(TemperError) in
        var probe = ComposedProbe(
          method, loss, isOfBatch: isOfBatch, workers: workers, milliseconds: arrival.options.milliseconds)
        try probe.run()
        return probe.lines
      }
      return (method, lines)
    case .missing: throw TemperError(.pluginFailed, "Its function has no address.")
    }
  }

  private func add(_ methods: [Method]) throws(TemperError) {
    var added: [String] = []
    do throws(TemperError) {
      for method in methods {
        try catalogue.add(method)
        added.append(method.name)
      }
    } catch {
      for name in added { catalogue.remove(name) }
      throw error
    }
  }
}

/// How a loss of a plug-in is computed.
private enum LossBody {
  case function(any BatchFunction)
  case expression(isOfBatch: Bool, @Sendable (Formula) throws(TemperError) -> Expression)
  case missing
}

/// A plug-in on its way into the catalogue.
private struct Arrival {
  let declaration: Declaration
  let place: String
  /// The digest of what was read; nil where there is nothing to tell contents apart by.
  let content: String?
  let options: LoadOptions
  /// Further lines for the report.
  var notes: [String] = []

  init(_ declaration: Declaration, _ place: String, content: String?, _ options: LoadOptions) {
    (self.declaration, self.place, self.content, self.options) = (declaration, place, content, options)
  }

  private func key(_ loss: String) -> String? { content.map { ProbeCache.key($0, loss, options.manner) } }

  /// Whether this content passed its probe in this process before.
  var isKnown: Bool { declaration.losses.allSatisfy { key($0.name).flatMap { ProbeCache[$0] } != nil } }

  /// What the probe of a loss found, now or before.
  func remembering(_ loss: String, _ probe: () throws(TemperError) -> [String]) throws(TemperError) -> [String] {
    guard let key = key(loss) else { return try probe() }
    if let known = ProbeCache[key] { return known + ["found before in this process, for the same content"] }
    let lines = try probe()
    ProbeCache[key] = lines
    return lines
  }
}
