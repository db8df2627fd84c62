import TemperCatalogue
import TemperGraph

/// Activations: functions of each element.
package enum Activations {
  package static let all: [Method] = rectifiers + sigmoids + smoothRectifiers + sparse

  /// A function of each element.
  static func elementwise(
    _ name: String, aliases: [String] = [], _ summary: String, _ reference: Reference? = nil,
    _ parameters: [Parameter] = [], properties: Set<String> = ["smooth"],
    _ value: @escaping @Sendable (Formula, Expression) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .activation, area: "activations", summary: summary, reference: reference,
      parameters: parameters, inputs: [Input("x", [.init(["..."])], "Any array.")], properties: properties,
      implementation: .operation { x in value(x, x["x"]) })
  }
}
