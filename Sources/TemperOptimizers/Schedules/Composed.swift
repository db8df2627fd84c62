import TemperCatalogue
import TemperCore

/// Schedules made of others, named in JSON: "cosine", {"cosine": {"total_steps": 90}}, with "steps" beside the name for
/// how long a part of a sequence lasts.
extension Optimizers {
  static let composedSchedules = [sequence, product]

  static let sequence = composed(
    "sequence", aliases: ["sequential"], "Schedules one after the other, each from its own step 0.",
    "[{\"linear_warmup\": {\"warmup_steps\": 10}, \"steps\": 10}, \"cosine\"]"
  ) { (parts) throws(TemperError) in
    guard let last = parts.last, last.steps == nil else {
      throw TemperError(.outOfRange, "The last schedule of a sequence goes on for ever: it takes no \"steps\".")
    }
    var (starts, start) = ([0.0], 0.0)
    for part in parts.dropLast() {
      guard let steps = part.steps, steps > 0 else {
        throw TemperError(.outOfRange, "Each schedule of a sequence but the last takes \"steps\", above 0.")
      }
      start += steps
      starts.append(start)
    }
    let begins = starts
    return { t in
      let index = begins.lastIndex { $0 <= t } ?? 0
      return parts[index].schedule.value(at: t - begins[index])
    }
  }

  static let product = composed(
    "product", aliases: ["chained"], "The product of schedules: a warm-up factor times a decay.",
    "[\"linear_warmup\", \"cosine\"]"
  ) { (parts) throws(TemperError) in
    for part in parts where part.steps != nil {
      throw TemperError(.outOfRange, "The schedules of a product all go on for ever: they take no \"steps\".")
    }
    return { t in parts.reduce(1) { $0 * $1.schedule.value(at: t) } }
  }

  private struct Part: Sendable {
    let schedule: ScheduleInstance
    let steps: Double?

    init(_ json: JSON, _ catalogue: Catalogue) throws(TemperError) {
      var (name, given, length): (String?, [(name: String, value: Value)], Double?) = (nil, [], nil)
      switch json {
      case .text(let text): name = text
      case .object(let members):
        for member in members {
          switch (member.name, member.value) {
          case ("steps", .integer(let steps)): length = Double(steps)
          case ("steps", .real(let steps)): length = steps
          case (_, .object(let settings)) where name == nil:
            name = member.name
            for setting in settings { given.append((setting.name, try Part.value(setting.value))) }
          default: throw Part.malformed(json)
          }
        }
      default: throw Part.malformed(json)
      }
      guard let name else { throw Part.malformed(json) }
      let method = try catalogue.resolve(try catalogue.find(name, kinds: [.schedule]), given)
      schedule = try ScheduleInstance(method, try Arguments(given, for: method.parameters))
      guard !schedule.isAdaptive else {
        throw TemperError(.unsupported, "\"\(name)\" follows what is observed; it cannot be part of another schedule.")
      }
      steps = length
    }

    private static func malformed(_ json: JSON) -> TemperError {
      TemperError(
        .outOfRange,
        "A part is a name, or {name: {parameter: value}} with \"steps\" if wanted; \(json.serialized) came.")
    }

    private static func value(_ json: JSON) throws(TemperError) -> Value {
      switch json {
      case .null: .none
      case .boolean(let value): .boolean(value)
      case .integer(let value): .integer(value)
      case .real(let value): .real(value)
      case .text(let value): .text(value)
      // Lists stay text: parts of parts, milestones.
      default: .text(json.serialized)
      }
    }
  }

  private static func composed(
    _ name: String, aliases: [String], _ summary: String, _ initial: String,
    _ rule: @escaping @Sendable ([Part]) throws(TemperError) -> @Sendable (Double) -> Double
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .schedule, area: "optim", summary: summary,
      parameters: [
        .real(
          "learning_rate", 1, "A factor of the whole; below 0 for parameters of losses that are below 0."
        ).named(also: "lr"),
        .text("schedules", initial, "The parts, as a list in JSON."),
      ],
      implementation: .scheduleOf { (x, catalogue) throws(TemperError) in
        guard case .array(let items) = try JSON(parsing: x.text("schedules")), !items.isEmpty else {
          throw TemperError(.outOfRange, "The parts of a schedule are a list in JSON of one or more.")
        }
        var parts: [Part] = []
        for item in items { parts.append(try Part(item, catalogue)) }
        let (factor, value) = (x.real("learning_rate"), try rule(parts))
        return { factor * value($0) }
      })
  }
}
