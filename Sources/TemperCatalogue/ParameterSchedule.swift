import TemperCore

/// A parameter that follows a schedule while a trainer trains.
package struct ParameterSchedule: Sendable {
  /// What the schedule counts.
  package enum Clock: Int32, Sendable { case step = 0, epoch = 1 }

  package let parameter: String
  package let schedule: ScheduleInstance
  package let clock: Clock

  /// The value after `steps` steps and `epochs` epochs.
  package func value(steps: Int, epochs: Int) -> Double {
    schedule.value(at: Double(clock == .step ? steps : epochs))
  }

  func renamed(_ parameter: String) -> ParameterSchedule {
    ParameterSchedule(parameter: parameter, schedule: schedule, clock: clock)
  }
}

extension LossInstance {
  /// The arguments after `steps` steps and `epochs` epochs.
  package func arguments(steps: Int, epochs: Int) throws(TemperError) -> Arguments {
    if schedules.isEmpty { return arguments }
    let wholes = method.parameters.filter { if case .integer = $0.kind { true } else { false } }.map(\.name)
    let moved = schedules.map { entry in
      let value = entry.value(steps: steps, epochs: epochs)
      // A whole number goes from one to the next half-way.
      return (entry.parameter, Value.real(wholes.contains(entry.parameter) ? value.rounded() : value))
    }
    do throws(TemperError) { return try arguments.replacing(moved, for: method.parameters) } catch {
      throw error.from(method.name)
    }
  }

  /// The loss as its schedules have it after so many steps and epochs.
  package func at(steps: Int, epochs: Int) throws(TemperError) -> LossInstance {
    try LossInstance(
      method, try arguments(steps: steps, epochs: epochs), schedules: schedules, workers: workers)
  }

  /// The same loss with one more parameter that moves; a second schedule for a parameter takes the first one's place.
  package func scheduled(
    _ name: String, by schedule: ScheduleInstance, _ clock: ParameterSchedule.Clock
  ) throws(TemperError) -> LossInstance {
    guard let parameter = method.parameters.first(where: { $0.isCalled(name) }) else {
      throw TemperError(
        .unknownName,
        "There is no parameter \"\(name)\" to move; there are: \(method.parameters.map(\.name).joined(separator: ", ")).",
        origin: method.name)
    }
    guard !schedule.isAdaptive else {
      throw TemperError(
        .unsupported,
        "The schedule \(schedule.method.name) follows measurements; a parameter's follows steps or epochs.",
        origin: method.name)
    }
    let added = ParameterSchedule(parameter: parameter.name, schedule: schedule, clock: clock)
    let moved = try LossInstance(
      method, arguments, schedules: schedules.filter { $0.parameter != parameter.name } + [added], workers: workers)
    _ = try moved.arguments(steps: 0, epochs: 0)
    return moved
  }

  /// sum of weight * loss, with the schedules of all.
  package static func sum(
    _ terms: [(name: String?, weight: Double, loss: LossInstance)]
  ) throws(TemperError) -> LossInstance {
    let (method, prefixes) = try Method.weightedSum(
      terms.map { ($0.name, $0.weight, $0.loss.method, $0.loss.arguments) })
    var schedules: [ParameterSchedule] = []
    for (term, prefix) in zip(terms, prefixes) {
      schedules += term.loss.schedules.map { $0.renamed(prefix + "." + $0.parameter) }
    }
    return try LossInstance(
      method, try Arguments([], for: method.parameters), schedules: schedules, workers: terms[0].loss.workers)
  }

  /// The loss with one of its inputs through an operator.
  package func through(_ operation: OperationInstance, input: String) throws(TemperError) -> LossInstance {
    let composed = try Method.transformed(
      loss: method, arguments: arguments, input: input, by: operation.method, operation.arguments)
    return try LossInstance(
      composed, try Arguments([], for: composed.parameters),
      schedules: schedules.map { $0.renamed(method.name + "." + $0.parameter) }, workers: workers)
  }
}
