import TemperCatalogue
import TemperCore

/// A procedure of the catalogue: its record says everything about it but what the hooks do.
package protocol RecordedProcedure: Procedure, SendableMetatype {
  static var method: Method { get }
  var arguments: Arguments { get }
  init(_ arguments: Arguments) throws(TemperError)
  /// A size of the record's state that only the method knows.
  func size(_ letter: String, _ training: Training) -> Int?
}

extension RecordedProcedure {
  package var name: String { Self.method.name }
  package var settings: String { arguments.text }
  package var inputs: [Input] { Self.method.inputs }
  package var replaces: Set<Replaced> {
    Set(Replaced.allCases.filter { Self.method.properties.contains($0.property) })
  }

  package func size(_ letter: String, _ training: Training) -> Int? { nil }

  /// Declares what the record says is kept of each sample. Sizes are numbers, "C" classes, "F" features below the last
  /// layer, parameters by name, or what `size` knows; an array of size 0 is not kept.
  package func keepState(_ training: Training) throws(TemperError) {
    for state in Self.method.state {
      var sizes: [Int] = []
      for letter in state.shape {
        let known: Int? =
          switch letter {
          case "C": training.networks[0].model.output.last
          case "F": Training.featureShape(training.networks[0].model).count
          default: if case .integer(let value)? = arguments.values[letter] { value } else { Int(letter) }
          }
        guard let size = size(letter, training) ?? known else {
          throw TemperError(
            .internalFault, "What is kept of each sample has an unknown size, \"\(letter)\".", origin: name)
        }
        sizes.append(size)
      }
      if sizes.contains(0) { continue }
      try training.keepRows(state.name, Shape(sizes.isEmpty ? [1] : sizes), initial: state.initialValue(arguments))
    }
  }
}

extension Replaced {
  fileprivate var property: String { "replaces_\(rawValue)" }
}

/// How a record of kind procedure is built.
private struct ProcedureMaker: Sendable {
  let make: @Sendable (Arguments) throws(TemperError) -> any Procedure
}

extension Method {
  package static func procedure<P: RecordedProcedure>(
    _ name: String, aliases: [String] = [], area: String, summary: String, reference: Reference? = nil,
    parameters: [Parameter] = [], inputs: [Input] = [], state: [SampleState] = [], replaces: Set<Replaced> = [],
    _ type: P.Type
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .procedure, area: area, summary: summary, reference: reference,
      parameters: parameters, inputs: inputs, state: state, properties: Set(replaces.map(\.property)),
      implementation: .component(
        ProcedureMaker { (arguments) throws(TemperError) in try P(arguments) }))
  }
}

/// One procedure, or several used together, with their parameters; a trainer takes what `make` gives.
package struct ProcedureInstance: Sendable {
  package let parts: [(method: Method, arguments: Arguments)]

  package init(_ method: Method, _ arguments: Arguments) throws(TemperError) {
    parts = [(method, arguments)]
    _ = try make()
  }

  /// Their hooks run in this order.
  package init(combining instances: [ProcedureInstance]) throws(TemperError) {
    parts = instances.flatMap(\.parts)
    guard !parts.isEmpty else { throw TemperError(.invalidArgument, "There is no procedure to combine.") }
    _ = try make()
  }

  /// A procedure for one trainer.
  package func make() throws(TemperError) -> any Procedure {
    var made: [any Procedure] = []
    for (method, arguments) in parts {
      guard case .component(let maker as ProcedureMaker) = method.implementation else {
        throw TemperError(
          .invalidArgument, "\"\(method.name)\" is of kind \(method.kind.rawValue), not a procedure.")
      }
      do throws(TemperError) { made.append(try maker.make(arguments)) } catch { throw error.from(method.name) }
    }
    return made.count == 1 ? made[0] : try CombinedProcedure(made)
  }
}
