import TemperCore

/// Methods around others: lookahead around adam, clipping around lookahead around adam. With its base known such a
/// method is a record like any other, whose parameters are its own and those of the base. A name that both have means
/// the outer one; "base.NAME" means the base's.
extension Method {
  static let basePrefix = "base."

  static func notAnOptimizer(_ method: Method) -> TemperError {
    if case .updateAround = method.implementation {
      return TemperError(.internalFault, "\"\(method.name)\" has not been given its base.")
    }
    return TemperError(
      .invalidArgument, "\"\(method.name)\" is of kind \(method.kind.rawValue), not an optimizer with an update rule.")
  }

  func around(_ base: Method) throws(TemperError) -> Method {
    guard case .updateAround(let rule) = implementation else { throw Method.notAnOptimizer(self) }
    guard case .update = base.implementation else {
      throw TemperError(
        .invalidArgument, "\(name) stands around an optimizer with an update rule; \(base.name) is none.")
    }
    let taken = Set(parameters.flatMap { [$0.name] + $0.aliases })
    let inner = base.parameters.map { parameter in
      var parameter = parameter.renamed((taken.contains(parameter.name) ? Method.basePrefix : "") + parameter.name)
      parameter.aliases = parameter.aliases.filter { !taken.contains($0) }
      return parameter
    }
    let scope = name
    return Method(
      name, aliases: aliases, kind: kind, area: area, summary: summary, reference: reference,
      parameters: parameters + inner, properties: properties.intersection(base.properties), origin: origin,
      implementation: .update { x throws(TemperError) in try rule(x.scoped(scope), base) })
  }

  /// The arguments of this method, the base of another, out of the other's.
  func innerArguments(
    _ whole: Arguments, changing changes: [(name: String, value: Value)]
  ) throws(TemperError) -> Arguments {
    var given: [(name: String, value: Value)] = []
    var schedules: [(name: String, schedule: ScheduleInstance)] = []
    for parameter in parameters {
      let prefixed = Method.basePrefix + parameter.name
      let name = whole.values[prefixed] == nil ? parameter.name : prefixed
      guard let value = whole.values[name], value != .none || parameter.allowsNone else { continue }
      given.append((parameter.name, value))
      if let schedule = whole.schedules[name], !changes.contains(where: { $0.name == parameter.name }) {
        schedules.append((parameter.name, schedule))
      }
    }
    var inner = try Arguments(
      given + changes.filter { change in parameters.contains { $0.name == change.name } }, for: parameters)
    for (name, schedule) in schedules { inner.follow(name, schedule) }
    return inner
  }
}

extension Parameter {
  func renamed(_ name: String) -> Parameter {
    Parameter(
      name: name, kind: kind, initial: initial, summary: summary, allowsNone: allowsNone,
      aliases: name == self.name ? aliases : [], words: words)
  }
}

extension Catalogue {
  /// The method that these values make of a record: with the base or the parts that they name.
  package func resolve(
    _ method: Method, _ given: [(name: String, value: Value)]
  ) throws(TemperError) -> Method {
    switch method.implementation {
    case .updateAround:
      let base = method.parameters.first { $0.name == "base" }
      let value = given.last { $0.name == "base" }?.value ?? base?.initial
      guard case .text(let name)? = value else {
        throw TemperError(.outOfRange, "Parameter base takes the name of an optimizer.", origin: method.name)
      }
      let found = try find(name, kinds: [.optimizer])
      let own = Set(method.parameters.flatMap { [$0.name] + $0.aliases })
      var inner: [(name: String, value: Value)] = []
      for (name, value) in given {
        if name.hasPrefix(Method.basePrefix) {
          inner.append((String(name.dropFirst(Method.basePrefix.count)), value))
        } else if !own.contains(name) {
          inner.append((name, value))
        }
      }
      return try method.around(try resolve(found, inner))
    case .scheduleOf(let make):
      return method.replacing(.schedule { [self] (arguments) throws(TemperError) in try make(arguments, self) })
    default: return method
    }
  }
}

extension Method {
  func replacing(_ implementation: Implementation) -> Method {
    Method(
      name, aliases: aliases, kind: kind, area: area, summary: summary, reference: reference, parameters: parameters,
      inputs: inputs, state: state, properties: properties, check: check, origin: origin,
      implementation: implementation)
  }
}
