import TemperCore

/// One thing that can be asked of a method over arrays (a sampler, generator, detector or calibrator): its word, the
/// named inputs that it takes and the named arrays that it gives.
package struct ArrayCall: Sendable {
  package typealias Body = @Sendable (ArrayWork) throws(TemperError) -> Void

  /// How a call stands to what a method keeps.
  package enum StateUse: Sendable { case none, optional, required }

  package struct Result: Sendable {
    package let name: String
    package let summary: String
    /// Texts: rows of UTF-8 bytes, padded with zeros to one length.
    package let isText: Bool
    package init(_ name: String, isText: Bool = false, _ summary: String) {
      (self.name, self.isText, self.summary) = (name, isText, summary)
    }
  }

  package let name: String
  package let inputs: [Input]
  /// In the order in which the body gives them; the first is what the call is for.
  package let results: [Result]
  package let state: StateUse
  package let body: Body

  package init(
    _ name: String, _ inputs: [Input], gives results: [Result] = [], state: StateUse = .none, body: @escaping Body
  ) {
    (self.name, self.inputs, self.results, self.state, self.body) = (name, inputs, results, state, body)
  }
}

extension Method {
  /// A method over arrays. `keeps`: what is left of a fit, as the inputs of later calls.
  package init(
    _ name: String, aliases: [String] = [], kind: MethodKind, area: String, summary: String,
    reference: Reference? = nil, parameters: [Parameter] = [], keeps: [Input] = [], calls: [ArrayCall]
  ) {
    var inputs: [Input] = []
    for input in calls.flatMap(\.inputs) where !inputs.contains(where: { $0.name == input.name }) {
      inputs.append(input)
    }
    self.init(
      name, aliases: aliases, kind: kind, area: area, summary: summary, reference: reference, parameters: parameters,
      inputs: inputs, implementation: .arrays(calls, keeps: keeps))
  }

  /// What can be asked of a method over arrays; none for others.
  package var calls: [ArrayCall] { if case .arrays(let calls, _) = implementation { calls } else { [] } }

  package var keeps: [Input] { if case .arrays(_, let keeps) = implementation { keeps } else { [] } }
}
