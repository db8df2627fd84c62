import CTemper
import Glibc
import Synchronization
import TemperCore

/// A plug-in's library in memory. Never unloaded: code of it may run as long as the process does.
@safe final class Library: Sendable {
  let path: String
  private let base: UInt
  /// init and deinit of one library never run at the same time.
  let turn = Mutex<Void>(())

  /// Libraries of this process by path, with the bytes that were checked: the loader gives an open library again, even
  /// where the file behind its path is another one by now.
  private static let loaded = Mutex<[String: (content: String, library: Library)]>([:])

  private init(path: String, base: UInt) { (self.path, self.base) = (path, base) }

  /// Loads the library at `path`, whose bytes have the digest `content` and whose descriptor lies at `descriptor`.
  static func load(_ path: String, content: String, descriptor: UInt64) throws(TemperError) -> Library {
    if let known = loaded.withLock({ $0[path] }) {
      guard known.content == content else {
        throw TemperError(
          .pluginFailed,
          "The file has changed since it was loaded, and a library stays loaded until the process ends. Load the new one under another name, or start anew."
        )
      }
      return known.library
    }
    guard let handle = unsafe dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
      let reason = unsafe dlerror().map { unsafe String(cString: $0) } ?? "no reason was given"
      throw TemperError(.pluginFailed, "The system could not load the library: \(reason).")
    }
    guard let symbol = unsafe dlsym(handle, Descriptor.symbol) else {
      throw TemperError(.pluginFailed, "The loaded library does not have \(Descriptor.symbol).")
    }
    let library = Library(path: path, base: UInt(bitPattern: symbol) &- UInt(descriptor))
    return loaded.withLock { loaded in
      if let first = loaded[path] { return first.library }
      loaded[path] = (content, library)
      return library
    }
  }

  /// What lies at an address of the file, which has been checked to be code.
  @unsafe func code(at address: UInt64) -> UnsafeRawPointer? {
    unsafe UnsafeRawPointer(bitPattern: base &+ UInt(address))
  }
}

/// A library as one context uses it: what init gave, until nothing needs it any more.
@safe final class Instance: Sendable {
  let library: Library
  let origin: String
  private let services: Services
  private let state: StatePointer
  private let deinitialize: UInt64?

  /// A pointer of the plug-in's own, never looked behind.
  @safe private struct StatePointer: @unchecked Sendable { let pointer: UnsafeMutableRawPointer? }

  init(_ library: Library, _ descriptor: Descriptor, log: @escaping @Sendable (Int32, String) -> Void)
    throws(TemperError)
  {
    services = Services(origin: descriptor.declaration.origin, log: log)
    (self.library, origin, deinitialize) = (library, descriptor.declaration.origin, descriptor.deinitialize)
    var state: UnsafeMutableRawPointer?
    if let address = descriptor.initialize, let code = unsafe library.code(at: address) {
      typealias Initialize =
        @convention(c) (
          UnsafePointer<temper_host>?, UnsafeMutablePointer<UnsafeMutableRawPointer?>?, temper_message
        ) -> Int32
      let function = unsafe unsafeBitCast(code, to: Initialize.self)
      let host = unsafe services.table
      var status: Int32 = 0
      let text = unsafe messageText { message in
        library.turn.withLock { _ in unsafe status = function(host, &state, message) }
      }
      guard status == 0 else {
        throw TemperError(.pluginFailed, "Its init returned \(status): \(text).", origin: descriptor.declaration.origin)
      }
    }
    self.state = unsafe StatePointer(pointer: state)
  }

  /// What init left, for the plug-in's functions.
  @unsafe var statePointer: UnsafeMutableRawPointer? { unsafe state.pointer }

  deinit {
    guard let address = deinitialize, let code = unsafe library.code(at: address) else { return }
    let function = unsafe unsafeBitCast(code, to: (@convention(c) (UnsafeMutableRawPointer?) -> Void).self)
    library.turn.withLock { _ in unsafe function(state.pointer) }
  }
}

/// Gives `body` room for a message and reads what it left there.
func messageText(_ body: (temper_message) -> Void) -> String {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { room in
    unsafe room.initialize(repeating: 0)
    unsafe body(temper_message(text: room.baseAddress, capacity: UInt64(room.count)))
    return unsafe readMessage(room)
  }
}

/// The text in a message's room; whatever was left there, it is read within the room.
func readMessage(_ room: UnsafeMutableBufferPointer<CChar>) -> String {
  let bytes = unsafe room.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
  let text = String(decoding: bytes, as: UTF8.self)
  return text.isEmpty ? "it gave no reason" : text.hasSuffix(".") ? String(text.dropLast()) : text
}

/// What the host offers to a plug-in.
@safe private final class Services: @unchecked Sendable {
  let origin: String
  let log: @Sendable (Int32, String) -> Void
  let table: UnsafeMutablePointer<temper_host>

  init(origin: String, log: @escaping @Sendable (Int32, String) -> Void) {
    (self.origin, self.log) = (origin, log)
    unsafe table = .allocate(capacity: 1)
    let version = UInt32(TEMPER_VERSION_MAJOR) << 16 | UInt32(TEMPER_VERSION_MINOR) << 8 | UInt32(TEMPER_VERSION_PATCH)
    unsafe table.initialize(
      to: unsafe temper_host(
        struct_size: UInt32(MemoryLayout<temper_host>.size), revision: UInt32(TEMPER_PLUGIN_REVISION),
        library_version: version, reserved: 0, context: nil,
        log: { context, level, text in
          guard let context = unsafe context, let text = unsafe text else { return }
          let services = unsafe Unmanaged<Services>.fromOpaque(context).takeUnretainedValue()
          services.log(level, "\(services.origin): \(unsafe String(cString: text))")
        },
        // No further tables exist in this revision.
        extension: { _, _ in nil }))
    unsafe table.pointee.context = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit { unsafe table.deallocate() }
}
