import CTemper
import TemperCore

/// What computes a batch of a loss, in whatever form it came: values of samples and gradients, over the arrays of a
/// `temper_loss_call`.
protocol BatchFunction: Sendable {
  /// The types of numbers that it can be called with.
  var precisions: Precisions { get }
  /// Whether it writes the gradients that are asked for.
  var hasGradient: Bool { get }
  /// The process that keeps what goes wrong in it; nil if that is this one.
  var isolation: Isolation? { get }
  /// Computes one batch. The message of `call` is not set.
  @unsafe func evaluate(_ call: temper_loss_call) throws(TemperError)
  /// Whether a child that fork makes can call it.
  var worksInChild: Bool { get }
  /// Makes a child process that may call it.
  var fork: (@convention(c) () -> Int32)? { get }
}

extension BatchFunction {
  var isolation: Isolation? { nil }
  var worksInChild: Bool { true }
  var fork: (@convention(c) () -> Int32)? { nil }
}

enum Precisions: Sendable, Hashable {
  case float32, float64, both

  /// The type of the work, where the caller has `type`.
  func working(for type: DType) -> DType {
    switch self {
    case .float32: .float32
    case .float64: .float64
    case .both: type
    }
  }

  var types: [DType] {
    switch self {
    case .float32: [.float32]
    case .float64: [.float64]
    case .both: [.float32, .float64]
    }
  }
}

/// A function of a library that follows temper_plugin.h.
@safe struct NativeFunction: BatchFunction {
  typealias Code = @Sendable @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<temper_loss_call>?) -> Int32

  let instance: Instance
  let code: Code
  let precisions: Precisions
  let hasGradient = true

  init(_ instance: Instance, code: UnsafeRawPointer, hasFloat64: Bool) {
    (self.instance, precisions) = (instance, hasFloat64 ? .both : .float32)
    unsafe self.code = unsafe unsafeBitCast(code, to: Code.self)
  }

  @unsafe func evaluate(_ call: temper_loss_call) throws(TemperError) {
    var call = unsafe call
    var status: Int32 = 0
    let text = unsafe messageText { message in
      unsafe call.message = message
      status = unsafe code(instance.statePointer, &call)
    }
    guard status == 0 else { throw TemperError(.pluginFailed, "It returned \(status): \(text).") }
  }
}
