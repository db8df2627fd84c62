import CTemper
import Glibc
import TemperCatalogue
import TemperCore

/// A plug-in that was loaded and probed; its losses are in the catalogue.
package struct LoadedPlugin: Sendable {
  package let name: String
  /// What the probe found, a line for each check.
  package let report: String
}

/// Brings plug-ins into a catalogue.
package struct PluginHost: Sendable {
  package let catalogue: Catalogue
  package let workers: Workers
  /// Where libraries may come from; without any, an explicit path to any file may be loaded.
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
      let path = try permitted(path)
      return PluginListing(try Descriptor(try ElfImage(try LibraryFile.read(path))))
    } catch { throw error.from(path) }
  }

  /// Loads, probes, and adds to the catalogue; all losses or none.
  package func load(_ path: String, milliseconds: Int32 = 10_000) throws(TemperError) -> LoadedPlugin {
    do throws(TemperError) {
      let path = try permitted(path)
      let file = try LibraryFile.read(path)
      let descriptor = try Descriptor(try ElfImage(file))
      for loss in descriptor.losses { try checkFree(descriptor.name + "." + loss.name, descriptor) }
      try rehearse(path, file, descriptor, milliseconds)
      let library = try Library.load(path, file: file, descriptor: descriptor.address)
      let instance = try Instance(library, descriptor, log: log)
      var lines = ["\(descriptor.origin), \(path)"]
      var methods: [Method] = []
      for loss in descriptor.losses {
        let made = try method(loss, instance, descriptor, milliseconds)
        methods.append(made.method)
        lines += ["\(made.method.name) (\(loss.kind.word))"] + made.lines.map { "  " + $0 }
      }
      for name in descriptor.skipped {
        lines.append("\(descriptor.name).\(name): of a kind that this host does not know; skipped")
        log(2, "\(descriptor.origin): the loss \(name) is of a kind that this host does not know; it is skipped.")
      }
      try add(methods)
      return LoadedPlugin(name: descriptor.name, report: lines.joined(separator: "\n") + "\n")
    } catch { throw error.from(path) }
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

  private func checkFree(_ name: String, _ descriptor: Descriptor) throws(TemperError) {
    if let holder = try? catalogue.find(name) {
      throw TemperError(
        .pluginFailed,
        "\"\(name)\" of \(descriptor.origin) cannot be added: \(holder.origin ?? "Temper") has it already.")
    }
  }

  /// Loads and initialises in a child first, so that a constructor or an init that crashes does it there.
  private func rehearse(
    _ path: String, _ file: [UInt8], _ descriptor: Descriptor, _ milliseconds: Int32
  ) throws(TemperError) {
    do throws(TemperError) {
      _ = try isolated(milliseconds: milliseconds) {
        guard let library = try? Library.load(path, file: file, descriptor: descriptor.address) else { return 0 }
        _ = try? Instance(library, descriptor) { _, _ in }
        return 0
      }
    } catch {
      var error = error
      error.message = "Loading it in a child process failed: " + error.message
      throw error
    }
  }

  private func method(
    _ loss: LossDescriptor, _ instance: Instance, _ descriptor: Descriptor, _ milliseconds: Int32
  ) throws(TemperError) -> (method: Method, lines: [String]) {
    let name = descriptor.name + "." + loss.name
    // The short name too, where nobody has it.
    let isFree = (try? catalogue.find(loss.name)) == nil
    func record(_ properties: Set<String>, _ implementation: Implementation) -> Method {
      Method(
        name, aliases: isFree ? [loss.name] : [], kind: .loss, area: "plugin", summary: loss.summary,
        parameters: loss.parameters, inputs: loss.inputs, properties: properties,
        origin: descriptor.origin + (loss.reference.map { ", after " + $0 } ?? ""), implementation: implementation)
    }
    do throws(TemperError) {
      switch loss.kind {
      case .function(let address, let hasFloat64):
        guard let code = unsafe instance.library.code(at: address) else {
          throw TemperError(.pluginFailed, "Its evaluate has no address.")
        }
        let function = unsafe FunctionLoss(instance, loss, code: code, hasFloat64: hasFloat64)
        var probe = FunctionProbe(function, milliseconds: milliseconds)
        try probe.run()
        return (record([], .loss { formula in function.build(formula) }), probe.lines)
      case .composed(let address, let isOfBatch):
        guard let code = unsafe instance.library.code(at: address) else {
          throw TemperError(.pluginFailed, "Its compose has no address.")
        }
        let composed = unsafe ComposedLoss(instance, loss, code: code, isOfBatch: isOfBatch)
        let made = record(
          isOfBatch ? ["batch"] : [], .loss { formula throws(TemperError) in try composed.build(formula) })
        var probe = ComposedProbe(made, loss, isOfBatch: isOfBatch, workers: workers, milliseconds: milliseconds)
        try probe.run()
        return (made, probe.lines)
      }
    } catch {
      var error = error
      if error.origin.isEmpty { error.origin = name }
      throw error
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

/// What a plug-in file says of itself.
package struct PluginListing: Sendable {
  package let json: JSON
  package let text: String

  init(_ descriptor: Descriptor) {
    let methods = descriptor.losses.map { loss in
      Method(
        descriptor.name + "." + loss.name, kind: .loss, area: "plugin", summary: loss.summary,
        parameters: loss.parameters, inputs: loss.inputs, origin: descriptor.origin,
        implementation: .component(loss.kind.word))
    }
    json = .object([
      JSON.Member("name", .text(descriptor.name)), JSON.Member("version", .text(descriptor.version)),
      JSON.Member("licence", .text(descriptor.licence)), JSON.Member("summary", .text(descriptor.summary)),
      JSON.Member("built_for", .integer(Int(descriptor.builtFor))), JSON.Member("losses", .array(methods.map(\.json))),
      JSON.Member("forms", .array(descriptor.losses.map { .text($0.kind.word) })),
      JSON.Member("skipped", .array(descriptor.skipped.map { .text($0) })),
    ])
    text =
      "\(descriptor.origin): \(descriptor.summary)\n"
      + methods.map { "\n\($0.name) (\($0.kind.rawValue))\n\($0.documentation)" }.joined()
  }
}
