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

@implementation @c public func temper_plugin_load(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ file: UnsafePointer<CChar>?,
  _ options: UnsafePointer<temper_plugin_options>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let (context, path) = unsafe (try context(handle, 1), try path(file, 2))
    var limit: Int32 = 0
    if let options = unsafe options {
      limit = unsafe try sized(options, temper_plugin_options(), "options", 3).time_limit_milliseconds
    }
    guard limit >= 0 else {
      throw TemperError(.outOfRange, "`time_limit_milliseconds` is 0 or more; \(limit) came.", argument: 3)
    }
    return try located(2) { () throws(TemperError) in
      try context.host.load(path, milliseconds: limit == 0 ? 10_000 : limit)
    }
  }
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
