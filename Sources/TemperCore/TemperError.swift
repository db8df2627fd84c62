/// What went wrong, in whole sentences: what was expected, what came, and what to do.
///
/// Thrown inside as `throws(TemperError)`; translated once, at the C edge.
public struct TemperError: Error, Sendable, Hashable, CustomStringConvertible {
  /// Stable numbers: they cross the C ABI as status codes.
  public enum Code: Int32, Sendable, CaseIterable {
    case invalidArgument = 1
    case invalidShape = 2
    case invalidType = 3
    case unknownName = 4
    case outOfRange = 5
    case notFinite = 6
    case outOfMemory = 7
    case inputOutput = 8
    case malformedFile = 9
    case pluginFailed = 10
    case cancelled = 11
    case wrongState = 12
    case unsupported = 13
    case invalidHandle = 14
    case internalFault = 15
  }

  public var code: Code
  /// Index of the argument at fault, or -1.
  public var argument: Int32
  /// The method, file or plug-in that the error comes from; empty when it is the call itself.
  public var origin: String
  public var message: String

  public init(_ code: Code, _ message: String, argument: Int32 = -1, origin: String = "") {
    (self.code, self.message, self.argument, self.origin) = (code, message, argument, origin)
  }

  public var description: String { origin.isEmpty ? message : "\(origin): \(message)" }

  /// The same error, said to come from `origin` unless it already names one.
  public func from(_ origin: String) -> TemperError {
    var error = self
    if error.origin.isEmpty { error.origin = origin }
    return error
  }
}
