import CTemper
import TemperCore
import TemperPlugins

extension LoadedPlugin: Handled { static var kind: HandleKind { .plugin } }

extension Context {
  fileprivate var host: PluginHost {
    let log = log
    return PluginHost(catalogue: catalogue, workers: workers, directories: pluginDirectories) { level, line in
      log.write(level: level, line)
    }
  }
}

@implementation @c public func temper_plugin_inspect(
  _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?,
  _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?, _ form: Int32, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (context, path, format) = unsafe (try context(handle, 3), try path(file, 4), try format(form, 5))
    let listing = try located(4) { () throws(TemperError) in try context.host.inspect(path) }
    unsafe try deliver(format == .json ? listing.json.serialized : listing.text, buffer, capacity, length)
  }
}

@implementation @c public func temper_plugin_list(
  _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?,
  _ handle: OpaquePointer?, _ form: Int32, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (context, format) = unsafe (try context(handle, 3), try format(form, 4))
    let listings = try located(3) { () throws(TemperError) in try context.host.list() }
    let text =
      format == .json
      ? JSON.array(listings.map(\.json)).serialized : listings.map(\.text).joined(separator: "\n")
    unsafe try deliver(text, buffer, capacity, length)
  }
}

@implementation @c public func temper_plugin_load(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?,
  _ options: UnsafePointer<temper_plugin_options>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let (context, path) = unsafe (try context(handle, 1), try path(file, 2))
    let settings = unsafe try loading(options, 3)
    guard unsafe settings.callable.pointer == nil else {
      throw TemperError(.invalidArgument, "`callable` goes with temper_plugin_define.", argument: 3)
    }
    return try located(2) { () throws(TemperError) in try context.host.load(path, settings.options) }
  }
}

@implementation @c public func temper_plugin_define(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ declaration: UnsafePointer<CChar>?,
  _ options: UnsafePointer<temper_plugin_options>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let (context, text) = unsafe (try context(handle, 1), try text(declaration, "declaration", 2))
    let settings = unsafe try loading(options, 3)
    return try located(2) { () throws(TemperError) in
      unsafe try context.host.define(text, callable: settings.callable.pointer, settings.options)
    }
  }
}

@implementation @c public func temper_plugin_formula(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ formula: UnsafePointer<CChar>?, _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let (context, name) = unsafe (try context(handle, 1), try text(name, "name", 2))
    let formula = unsafe try text(formula, "formula", 3)
    let parameters = unsafe try parameters(params, paramCount, 4)
    return try located(3) { () throws(TemperError) in
      try context.host.define(formula: formula, name: name, parameters: parameters)
    }
  }
}

@implementation @c public func temper_plugin_unload(
  _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    try unsafe Handles.all.value(handle, as: LoadedPlugin.self, argument: 0).unload()
  }
}

private func loading(
  _ options: UnsafePointer<temper_plugin_options>?, _ argument: Int32
) throws(TemperError) -> (options: LoadOptions, callable: ForeignPointer) {
  var loading = LoadOptions()
  guard let options = unsafe options else { return (loading, unsafe ForeignPointer(nil)) }
  let given = unsafe try sized(options, unsafe temper_plugin_options(), "options", argument)
  let limit = unsafe given.time_limit_milliseconds
  guard limit >= 0 else {
    throw TemperError(.outOfRange, "`time_limit_milliseconds` is 0 or more; \(limit) came.", argument: argument)
  }
  if limit > 0 { loading.milliseconds = limit }
  loading.pythonFolders = unsafe try list(
    given.python_folders, given.python_folder_count, "python_folders", argument
  ) { folder throws(TemperError) in unsafe try text(folder, "an entry of python_folders", argument) }
  let isIsolated = unsafe given.flags == TEMPER_PLUGIN_ISOLATED
  guard unsafe isIsolated || given.flags == 0, unsafe given.reserved == 0 else {
    throw TemperError(
      .invalidArgument, "`flags` is TEMPER_PLUGIN_ISOLATED or 0, and `reserved` 0.", argument: argument)
  }
  let (retries, failure, memory) = unsafe (given.retries, given.on_failure, given.memory_limit)
  guard isIsolated || retries == 0 && failure == 0 && memory == 0 else {
    throw TemperError(
      .invalidArgument, "`retries`, `on_failure` and `memory_limit` go with TEMPER_PLUGIN_ISOLATED.",
      argument: argument)
  }
  guard 0...1000 ~= retries, failure == TEMPER_FAILURE_ERROR || failure == TEMPER_FAILURE_NAN, memory <= 1 << 46 else {
    throw TemperError(
      .outOfRange,
      "`retries` is 0 to 1000, `on_failure` TEMPER_FAILURE_ERROR or TEMPER_FAILURE_NAN, `memory_limit` at most 2^46; \(retries), \(failure) and \(memory) came.",
      argument: argument)
  }
  if isIsolated {
    var isolation = IsolationOptions()
    isolation.retries = Int(retries)
    isolation.failure = failure == TEMPER_FAILURE_NAN ? .notANumber : .error
    if memory > 0 { isolation.memory = memory }
    loading.isolation = isolation
  }
  return (loading, unsafe ForeignPointer(given.callable))
}

@implementation @c public func temper_plugin_report(
  _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?,
  _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let plugin = unsafe try Handles.all.value(handle, as: LoadedPlugin.self, argument: 3)
    unsafe try deliver(plugin.report, buffer, capacity, length)
  }
}

@implementation @c public func temper_plugin_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, LoadedPlugin.self)
}
