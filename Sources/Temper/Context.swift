import CTemper
import TemperCatalogue
import TemperCore

/// What calls share: threads, seed, log, catalogue, and where plug-ins may come from.
final class Context: Handled, Sendable {
  static var kind: HandleKind { .context }
  let workers: Workers
  let seed: UInt64
  let log: Log
  let catalogue: Catalogue
  let pluginDirectories: [String]

  init(workers: Workers, seed: UInt64, log: Log, pluginDirectories: [String]) {
    (self.workers, self.seed, self.log, self.pluginDirectories) = (workers, seed, log, pluginDirectories)
    catalogue = Catalogue(builtInMethods)
  }

  /// The seed to use where `seed` came.
  func seed(or seed: UInt64) -> UInt64 { seed == 0 ? self.seed : seed }
}

/// Where lines for people go.
@safe struct Log: Sendable {
  let function: temper_log_function?
  let owner: ForeignOwner

  func write(level: Int32, _ line: String) {
    if let function = unsafe function {
      unsafe line.withCString { text in _ = unsafe function(owner.user.pointer, level, text) }
    }
  }
}

func context(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> Context {
  unsafe try Handles.all.value(handle, argument: argument)
}

/// So many threads; 0: one for each processor.
func workers(_ threads: Int32, _ argument: Int32) throws(TemperError) -> Workers {
  guard threads >= 0, threads <= 256 else {
    throw TemperError(.outOfRange, "`threads` is 0 to 256; \(threads) came.", argument: argument)
  }
  return Workers(count: Int(threads))
}

@implementation @c public func temper_context_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ options: UnsafePointer<temper_context_options>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let options =
      if let options = unsafe options {
        unsafe try sized(options, temper_context_options(), "options", 1)
      } else {
        unsafe temper_context_options()
      }
    let workers = unsafe try workers(options.threads, 1)
    let directories = unsafe try list(
      options.plugin_directories, options.plugin_directory_count, "plugin_directories", 1
    ) { directory throws(TemperError) in unsafe try text(directory, "an entry of plugin_directories", 1) }
    let log = unsafe Log(function: options.log, owner: ForeignOwner(options.log_user, options.log_destroy))
    return unsafe Context(
      workers: workers, seed: options.seed, log: log, pluginDirectories: directories)
  }
}

@implementation @c public func temper_context_threads(
  _ out: UnsafeMutablePointer<Int32>?, _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let out = unsafe try required(out, "out", 0)
    unsafe out.pointee = Int32(try context(handle, 1).workers.count)
  }
}

@implementation @c public func temper_context_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, Context.self)
}
