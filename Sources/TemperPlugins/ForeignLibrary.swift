import Glibc
import TemperCore

/// A library of any origin in memory. Never unloaded: code of it may run as long as the process does.
@safe struct ForeignLibrary: @unchecked Sendable {
  private let handle: UnsafeMutableRawPointer
  private let path: String

  static func load(_ path: String) throws(TemperError) -> ForeignLibrary {
    guard let handle = unsafe dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
      let reason = unsafe dlerror().map { unsafe String(cString: $0) } ?? "no reason was given"
      throw TemperError(.pluginFailed, "The system could not load the library: \(reason).")
    }
    return unsafe ForeignLibrary(handle: handle, path: path)
  }

  /// Whether a library of this name is in the process already.
  static func isLoaded(_ name: String) -> Bool {
    guard let handle = unsafe dlopen(name, RTLD_NOW | RTLD_NOLOAD) else { return false }
    unsafe dlclose(handle)
    return true
  }

  /// A function under its name, or under that with the underscore that Fortran compilers add.
  @unsafe func code(_ symbol: String) throws(TemperError) -> UnsafeRawPointer {
    for name in [symbol, symbol + "_"] {
      if let code = unsafe dlsym(handle, name) { return UnsafeRawPointer(code) }
    }
    throw TemperError(.pluginFailed, "The library \(path) has no function \"\(symbol)\".")
  }
}
