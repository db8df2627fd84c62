import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// Several procedures in one run: a method that chooses samples, one that shapes the objective, others that look on.
final class CombinedProcedure: Procedure {
  private let parts: [any Procedure]
  let networkCount: Int
  let inputs: [Input]
  let replaces: Set<Replaced>
  var name: String { parts.map(\.name).joined(separator: " + ") }
  var batchesPerStep: Int { part(that: .objective).batchesPerStep }
  var settings: String { parts.map { "\($0.name)(\($0.settings))" }.joined(separator: ", ") }

  /// An error where two parts want the same thing otherwise.
  init(_ parts: [any Procedure]) throws(TemperError) {
    self.parts = parts
    for (index, part) in parts.enumerated() {
      for other in parts[..<index] {
        if other.name == part.name {
          throw TemperError(.invalidArgument, "The procedure \(part.name) came twice.")
        }
        guard let both = other.replaces.intersection(part.replaces).map(\.rawValue).min() else { continue }
        throw TemperError(
          .unsupported,
          "\(other.name) and \(part.name) do not go together: each has an \(both) of its own \(both == "order" ? "for the samples of an epoch" : "for a step")."
        )
      }
    }
    let several = parts.filter { $0.networkCount > 1 }
    guard several.count <= 1 else {
      throw TemperError(
        .unsupported,
        "\(several[0].name) and \(several[1].name) do not go together: each trains several networks of its own.")
    }
    networkCount = several.first?.networkCount ?? 1
    var inputs: [Input] = []
    for input in parts.flatMap(\.inputs) where !inputs.contains(where: { $0.name == input.name }) {
      inputs.append(input)
    }
    self.inputs = inputs
    replaces = parts.reduce(into: []) { $0.formUnion($1.replaces) }
  }

  /// Each part keeps its arrays under names of its own.
  private func each(
    _ training: Training, _ body: (any Procedure) throws(TemperError) -> Void
  ) throws(TemperError) {
    defer { training.scope = "" }
    for part in parts {
      training.scope = part.name + "."
      try body(part)
    }
  }

  private func part(that replaced: Replaced) -> any Procedure {
    parts.first { $0.replaces.contains(replaced) } ?? parts[0]
  }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    for part in parts { try part.check(model, loss) }
  }

  func prepare(_ training: Training) throws(TemperError) {
    try each(training) { (part) throws(TemperError) in try part.prepare(training) }
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    try each(training) { (part) throws(TemperError) in try part.epochWillBegin(training) }
  }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    let part = part(that: .order)
    training.scope = part.name + "."
    defer { training.scope = "" }
    return try part.order(training)
  }

  func phase(_ position: Position) -> Int { part(that: .objective).phase(position) }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let part = part(that: .objective)
    step.training.scope = part.name + "."
    defer { step.training.scope = "" }
    return try part.objective(step)
  }

  func stepDidEnd(_ training: Training) throws(TemperError) {
    try each(training) { (part) throws(TemperError) in try part.stepDidEnd(training) }
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    try each(training) { (part) throws(TemperError) in try part.epochDidEnd(training) }
  }
}
