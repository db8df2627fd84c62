import TemperCore

/// The value of a parameter as it crosses every edge (C, Python, files).
package enum Value: Sendable, Hashable {
  case none
  case boolean(Bool)
  case integer(Int)
  case real(Double)
  case text(String)

  package var description: String {
    switch self {
    case .none: "none"
    case .boolean(let value): String(value)
    case .integer(let value): String(value)
    case .real(let value): String(value)
    case .text(let value): "\"\(value)\""
    }
  }
}

/// The numbers that a parameter may take.
package struct Interval: Sendable, Hashable {
  package var lower: Double, upper: Double
  package var includesLower: Bool, includesUpper: Bool

  package init(_ lower: Double, _ upper: Double, includesLower: Bool = true, includesUpper: Bool = true) {
    (self.lower, self.upper) = (lower, upper)
    (self.includesLower, self.includesUpper) = (includesLower, includesUpper)
  }

  package static let any = Interval(-.infinity, .infinity)
  package static let positive = Interval(0, .infinity, includesLower: false)
  package static let nonNegative = Interval(0, .infinity)
  package static let negative = Interval(-.infinity, 0, includesUpper: false)
  /// [0, 1]
  package static let unit = Interval(0, 1)
  /// [0, 1)
  package static let belowOne = Interval(0, 1, includesUpper: false)

  package func contains(_ value: Double) -> Bool {
    (includesLower ? value >= lower : value > lower) && (includesUpper ? value <= upper : value < upper)
  }

  /// What lies in both.
  package func intersection(_ other: Interval) -> Interval {
    let (low, high) = (max(lower, other.lower), min(upper, other.upper))
    return Interval(
      low, high, includesLower: contains(low) && other.contains(low) || low == -.infinity,
      includesUpper: contains(high) && other.contains(high) || high == .infinity)
  }

  /// As a rule in words: "above 0".
  package var words: String {
    func number(_ value: Double) -> String { value == value.rounded() ? "\(Int(value))" : "\(value)" }
    if upper == .infinity { return includesLower ? "\(number(lower)) or more" : "above \(number(lower))" }
    if lower == -.infinity { return includesUpper ? "\(number(upper)) or less" : "below \(number(upper))" }
    return "in \(description)"
  }

  package var description: String {
    "\(includesLower && lower.isFinite ? "[" : "(")\(lower), \(upper)\(includesUpper && upper.isFinite ? "]" : ")")"
  }
}

/// One parameter of a method: what it is called, what it may be, and what it is if nobody says.
package struct Parameter: Sendable {
  package enum Kind: Sendable, Hashable {
    case real(Interval)
    case integer(ClosedRange<Int>)
    case boolean
    case choice([String])
    case text
  }

  package let name: String
  package let kind: Kind
  package let initial: Value
  package let summary: String
  /// Whether "none" is a value too.
  package var allowsNone = false
  package var aliases: [String] = []
  /// Words that may stand in place of a number ("snr": from the data).
  package var words: [String] = []

  package static func real(
    _ name: String, _ initial: Double, in interval: Interval = .any, _ summary: String
  ) -> Parameter {
    Parameter(name: name, kind: .real(interval), initial: .real(initial), summary: summary)
  }

  /// A number that may be absent, and is if nobody says.
  package static func optionalReal(_ name: String, in interval: Interval = .any, _ summary: String) -> Parameter {
    Parameter(name: name, kind: .real(interval), initial: .none, summary: summary, allowsNone: true)
  }

  package static func integer(
    _ name: String, _ initial: Int, in range: ClosedRange<Int> = .min ... .max, _ summary: String
  ) -> Parameter {
    Parameter(name: name, kind: .integer(range), initial: .integer(initial), summary: summary)
  }

  /// A whole number that may be absent, and is if nobody says.
  package static func optionalInteger(
    _ name: String, in range: ClosedRange<Int> = .min ... .max, _ summary: String
  ) -> Parameter {
    Parameter(name: name, kind: .integer(range), initial: .none, summary: summary, allowsNone: true)
  }

  package static func boolean(_ name: String, _ initial: Bool, _ summary: String) -> Parameter {
    Parameter(name: name, kind: .boolean, initial: .boolean(initial), summary: summary)
  }

  /// One of several words, the first unless said otherwise.
  package static func choice(
    _ name: String, _ choices: [String], initial: String? = nil, _ summary: String
  ) -> Parameter {
    Parameter(name: name, kind: .choice(choices), initial: .text(initial ?? choices[0]), summary: summary)
  }

  package static func text(_ name: String, _ initial: String, _ summary: String) -> Parameter {
    Parameter(name: name, kind: .text, initial: .text(initial), summary: summary)
  }

  /// The same parameter under other names, by `also`.
  package func named(also aliases: String...) -> Parameter {
    var copy = self
    copy.aliases = aliases
    return copy
  }

  /// A number, or one of some words, the first of which is the initial value.
  package static func real(
    _ name: String, or words: [String], in interval: Interval = .any, _ summary: String
  ) -> Parameter {
    Parameter(name: name, kind: .real(interval), initial: .text(words[0]), summary: summary, words: words)
  }

  /// The same parameter, for which none is a value too.
  package var orNone: Parameter {
    var copy = self
    copy.allowsNone = true
    return copy
  }

  /// The same parameter without a default: it must be given.
  package var required: Parameter {
    Parameter(name: name, kind: kind, initial: .none, summary: summary, aliases: aliases)
  }

  package var isRequired: Bool { initial == .none && !allowsNone }

  package func isCalled(_ name: String) -> Bool { self.name == name || aliases.contains(name) }

  /// What came, as the parameter's own type, or an error that says what may come.
  func accept(_ value: Value) throws(TemperError) -> Value {
    switch (kind, value) {
    case (_, .none) where allowsNone: return value
    case (_, .text(let word)) where words.contains(word): return value
    case (.real(let interval), .real(let number)) where interval.contains(number): return value
    case (.real(let interval), .integer(let number)) where interval.contains(Double(number)):
      return .real(Double(number))
    case (.integer(let range), .integer(let number)) where range.contains(number): return value
    case (.integer(let range), .real(let number)):
      if let whole = Int(exactly: number), range.contains(whole) { return .integer(whole) }
    case (.boolean, .boolean): return value
    case (.boolean, .integer(let number)) where number == 0 || number == 1: return .boolean(number == 1)
    case (.choice(let words), .text(let word)) where words.contains(word): return value
    case (.text, .text): return value
    default: break
    }
    throw TemperError(.outOfRange, "Parameter \(name) takes \(domain); \(value.description) came.")
  }

  /// The values that may come, in words.
  package var domain: String {
    let values =
      switch kind {
      case .real(.any): "a number"
      case .real(let interval): "a number in \(interval.description)"
      case .integer(.min ... .max): "a whole number"
      case .integer(let range):
        "a whole number from \(range.lowerBound)" + (range.upperBound == .max ? "" : " to \(range.upperBound)")
      case .boolean: "true or false"
      case .choice(let words): "one of " + words.joined(separator: ", ")
      case .text: "a text"
      }
    return ([values] + words.map { "\"\($0)\"" } + (allowsNone ? ["none"] : [])).joined(separator: ", or ")
  }
}

/// Checked values for all parameters of a method.
package struct Arguments: Sendable, Hashable {
  package private(set) var values: [String: Value] = [:]
  /// What parameters of an update rule follow from step to step, in place of their values.
  package private(set) var schedules: [String: ScheduleInstance] = [:]

  /// Defaults overridden by what was given; unknown names and values outside their range are errors.
  package init(_ given: [(name: String, value: Value)], for parameters: [Parameter]) throws(TemperError) {
    for parameter in parameters { values[parameter.name] = parameter.initial }
    for (name, value) in given {
      guard let parameter = parameters.first(where: { $0.isCalled(name) }) else {
        let known = parameters.map(\.name).joined(separator: ", ")
        throw TemperError(
          .unknownName,
          "There is no parameter \"\(name)\"; " + (known.isEmpty ? "there are none." : "there are: \(known)."))
      }
      values[parameter.name] = try parameter.accept(value)
    }
    if let missing = parameters.first(where: { $0.isRequired && values[$0.name] == Value.none }) {
      throw TemperError(
        .invalidArgument, "Parameter \(missing.name) is missing; it takes \(missing.domain). \(missing.summary)")
    }
  }

  /// The same values except those given: how a schedule moves a parameter.
  package func replacing(
    _ changes: [(name: String, value: Value)], for parameters: [Parameter]
  ) throws(TemperError) -> Arguments {
    var new = try Arguments(values.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } + changes, for: parameters)
    let changed = parameters.filter { parameter in changes.contains { parameter.isCalled($0.name) } }
    new.schedules = schedules.filter { schedule in !changed.contains { $0.name == schedule.key } }
    return new
  }

  package mutating func follow(_ name: String, _ schedule: ScheduleInstance) { schedules[name] = schedule }

  /// That what the schedules give for a step lies within the ranges of their parameters.
  func checkSchedules(step: Int, of parameters: [Parameter]) throws(TemperError) {
    if schedules.isEmpty { return }
    for parameter in parameters {
      if let value = schedules[parameter.name]?.value(at: Double(step)) { _ = try parameter.accept(.real(value)) }
    }
  }

  // A name that the record does not declare is a mistake in the method itself; building every record is a test.
  package func real(_ name: String) -> Double {
    if case .real(let value)? = values[name] { return value }
    preconditionFailure("no real parameter \(name)")
  }

  /// nil where the value is none, or a word.
  package func optionalReal(_ name: String) -> Double? {
    if case .real(let value)? = values[name] { value } else { nil }
  }

  /// nil where the value is none.
  package func optionalInteger(_ name: String) -> Int? {
    if case .integer(let value)? = values[name] { value } else { nil }
  }

  package func integer(_ name: String) -> Int {
    if case .integer(let value)? = values[name] { return value }
    preconditionFailure("no integer parameter \(name)")
  }

  package func boolean(_ name: String) -> Bool {
    if case .boolean(let value)? = values[name] { return value }
    preconditionFailure("no boolean parameter \(name)")
  }

  package func text(_ name: String) -> String {
    if case .text(let value)? = values[name] { return value }
    preconditionFailure("no text parameter \(name)")
  }
}
