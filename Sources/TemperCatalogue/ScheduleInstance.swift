import TemperCore

/// A schedule with its parameters: a number for every step, 0 at the first.
package struct ScheduleInstance: Sendable {
  package let method: Method
  package let arguments: Arguments
  private let rule: @Sendable (Double) -> Double

  package init(_ method: Method, _ arguments: Arguments) throws(TemperError) {
    guard case .schedule(let make) = method.implementation else {
      throw TemperError(.invalidArgument, "\"\(method.name)\" is of kind \(method.kind.rawValue), not a schedule.")
    }
    (self.method, self.arguments) = (method, arguments)
    do throws(TemperError) { rule = try make(arguments) } catch { throw error.from(method.name) }
  }

  package func value(at step: Double) -> Double { rule(max(step, 0)) }
}
