import Synchronization
import TemperCore

/// A rule that changes with what is observed, such as a validation loss. Its state is a row of numbers.
package struct AdaptiveSchedule: Sendable {
  /// Names of measurements, of which an observation must bring one.
  package let measurements: [String]
  package let initial: [Double]
  /// The state after an observation.
  package let observe: @Sendable (_ state: [Double], _ measurement: Double) -> [Double]
  package let value: @Sendable (_ state: [Double], _ step: Double) -> Double

  package init(
    measurements: [String], initial: [Double], observe: @escaping @Sendable ([Double], Double) -> [Double],
    value: @escaping @Sendable ([Double], Double) -> Double
  ) {
    (self.measurements, self.initial, self.observe, self.value) = (measurements, initial, observe, value)
  }
}

/// A schedule with its parameters: a number for every step, 0 at the first.
package final class ScheduleInstance: Sendable, Hashable {
  package let method: Method
  package let arguments: Arguments
  private let rule: AdaptiveSchedule
  private let held: Mutex<[Double]>

  package init(_ method: Method, _ arguments: Arguments) throws(TemperError) {
    (self.method, self.arguments) = (method, arguments)
    do throws(TemperError) {
      switch method.implementation {
      case .schedule(let make):
        let value = try make(arguments)
        rule = AdaptiveSchedule(measurements: [], initial: [], observe: { state, _ in state }) { _, step in value(step)
        }
      case .adaptiveSchedule(let make): rule = try make(arguments)
      default:
        throw TemperError(.invalidArgument, "\"\(method.name)\" is of kind \(method.kind.rawValue), not a schedule.")
      }
    } catch { throw error.from(method.name) }
    held = Mutex(rule.initial)
  }

  /// One that observes is not another with the same parameters.
  package static func == (a: ScheduleInstance, b: ScheduleInstance) -> Bool { a === b }
  package func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }

  package func value(at step: Double) -> Double { rule.value(state, max(step, 0)) }

  /// Whether it depends on what is observed.
  package var isAdaptive: Bool { !rule.measurements.isEmpty }
  package var measurements: [String] { rule.measurements }

  /// Takes in the first of its measurements that is among those given.
  package func observe(_ values: [(name: String, value: Double)]) throws(TemperError) {
    guard isAdaptive else {
      throw TemperError(.unsupported, "This schedule depends on the step alone; it observes nothing.").from(method.name)
    }
    for name in rule.measurements {
      guard let value = values.first(where: { $0.name == name })?.value else { continue }
      held.withLock { $0 = rule.observe($0, value) }
      return
    }
    throw TemperError(
      .unknownName, "This schedule observes \(rule.measurements.joined(separator: " or "))."
    ).from(method.name)
  }

  package var state: [Double] { held.withLock { $0 } }

  package func load(_ state: [Double]) throws(TemperError) {
    guard state.count >= rule.initial.count, isAdaptive || state.isEmpty else {
      throw TemperError(
        .invalidArgument, "A state of \(state.count) numbers came; it has \(rule.initial.count) or more."
      )
      .from(method.name)
    }
    held.withLock { $0 = state }
  }
}
