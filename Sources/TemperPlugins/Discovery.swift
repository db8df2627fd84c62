import Glibc
import TemperCore

/// Finds plug-ins in the directories that a context allows, without running any of their code.
extension PluginHost {
  private static let deepest = 8
  private static let most = 10_000

  /// What every plug-in says of itself, or why it is none, by path. Files that are neither libraries with a descriptor
  /// nor have a declaration are left out where their name alone made them candidates.
  package func list() throws(TemperError) -> [PluginListing] {
    guard !directories.isEmpty else {
      throw TemperError(
        .wrongState, "The context allows no directories to look in; make one with `plugin_directories`.")
    }
    var files: [String] = []
    for directory in directories {
      do throws(TemperError) { try walk(try LibraryFile.resolve(directory), 0, &files) } catch {
        throw error.from(directory)
      }
    }
    return Set(files).sorted().compactMap { path in
      do throws(TemperError) { return try inspect(path) } catch {
        return PluginSource.isPlain(path) ? nil : PluginListing(path, error)
      }
    }
  }

  private func walk(_ directory: String, _ depth: Int, _ files: inout [String]) throws(TemperError) {
    for name in try LibraryFile.entries(of: directory).sorted() where !name.hasPrefix(".") {
      let path = directory == "/" ? "/" + name : directory + "/" + name
      switch LibraryFile.kind(of: path) {
      case .directory where depth < PluginHost.deepest: try walk(path, depth + 1, &files)
      // A link's target is judged when it is opened; a directory behind a link is not entered.
      case .file where PluginSource.isCandidate(name): files.append(path)
      default: break
      }
      guard files.count <= PluginHost.most else {
        throw TemperError(.outOfRange, "There are more than \(PluginHost.most) files that may be plug-ins.")
      }
    }
  }
}

extension LibraryFile {
  enum Kind { case file, directory, other }

  /// The names in a directory.
  static func entries(of path: String) throws(TemperError) -> [String] {
    guard let directory = unsafe opendir(path) else {
      throw TemperError(.inputOutput, "The directory \(path) cannot be read: \(reason()).")
    }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
        unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }

  /// A file, also behind a link, or a directory that is no link.
  static func kind(of path: String) -> Kind {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { return .other }
    if status.st_mode & S_IFMT == S_IFDIR { return .directory }
    guard unsafe stat(path, &status) == 0 else { return .other }
    return status.st_mode & S_IFMT == S_IFREG ? .file : .other
  }
}

extension PluginSource {
  /// Whether a file only looks like a plug-in by its name: any Python file without a declaration, any TOML or JSON file
  /// without losses, any library without a descriptor.
  static func isPlain(_ path: String) -> Bool {
    guard let resolved = try? LibraryFile.resolve(path), let bytes = try? LibraryFile.read(resolved) else {
      return false
    }
    let mark =
      path.hasSuffix(".so") ? Descriptor.symbol : path.hasSuffix(".py") ? "# /// temper" : "loss"
    return !bytes.contains(mark)
  }
}

extension [UInt8] {
  /// Whether a text occurs.
  fileprivate func contains(_ text: String) -> Bool {
    let wanted = Array(text.utf8)
    guard count >= wanted.count, let first = wanted.first else { return false }
    return (0...(count - wanted.count)).contains {
      self[$0] == first && self[$0..<($0 + wanted.count)].elementsEqual(wanted)
    }
  }
}
