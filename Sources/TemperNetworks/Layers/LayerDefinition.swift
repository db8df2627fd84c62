import TemperCatalogue
import TemperCore
import TemperGraph

/// What a built layer does. The first axis of the expression is the batch; errors travel inside expressions.
package typealias Forward = @Sendable (Expression, Pass) -> Expression

/// How a layer of the catalogue is built: the component of a `Method` of kind layer.
package struct LayerDefinition: Sendable {
  package let options: [LayerOption]
  /// The option that {name: value} gives when the value is not an object of options.
  package let main: String?
  /// Takes indices (token ids) and not numbers.
  package let takesIndices: Bool
  /// Declares parameters and buffers, checks the input's shape, and gives what the layer does.
  package let build: @Sendable (LayerBuilder) throws(TemperError) -> Forward
}

extension Method {
  static func layer(
    _ name: String, aliases: [String] = [], area: String = "layers", summary: String, reference: Reference? = nil,
    options: [LayerOption] = [], main: String? = nil,
    takesIndices: Bool = false, build: @escaping @Sendable (LayerBuilder) throws(TemperError) -> Forward
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .layer, area: area, summary: summary, reference: reference,
      parameters: options.map(\.parameter),
      implementation: .component(
        LayerDefinition(options: options, main: main, takesIndices: takesIndices, build: build)))
  }
}

extension LayerDefinition {
  /// The layer that a name stands for: a layer, or an activation or operator of one input.
  static func find(_ name: String, in catalogue: Catalogue) throws(TemperError) -> LayerDefinition {
    let method: Method
    do throws(TemperError) {
      method = try catalogue.find(name, kinds: [.layer, .activation, .op])
    } catch {
      let layers = catalogue.methods.filter { $0.kind == .layer }.map(\.name).joined(separator: ", ")
      throw TemperError(
        error.code, error.message + " Layers are \(layers); activations and operators are layers too.")
    }
    if case .component(let component) = method.implementation, let layer = component as? LayerDefinition {
      return layer
    }
    return try LayerDefinition(operation: method)
  }

  /// An activation or operator of the catalogue, along the last axis.
  init(operation method: Method) throws(TemperError) {
    let apply = try method.unaryOperation()
    options = method.parameters.map { LayerOption($0) }
    main = method.parameters.first?.name
    takesIndices = false
    build = { (layer) throws(TemperError) in
      let arguments = layer.options.arguments
      return { x, _ in apply(x, arguments) }
    }
  }
}

extension Method {
  /// An activation or operator as a function of its one array.
  func unaryOperation() throws(TemperError) -> @Sendable (Expression, Arguments) -> Expression {
    guard case .operation(let build) = implementation else {
      throw TemperError(.invalidArgument, "\"\(name)\" is of kind \(kind.rawValue) and not an operation on one array.")
    }
    let needed = inputs.filter { !$0.isOptional }.map(\.name)
    guard needed.count == 1 else {
      throw TemperError(
        .invalidArgument,
        "\"\(name)\" has the inputs \(needed.joined(separator: ", ")); only operations on one array are layers.")
    }
    let (input, origin) = (needed[0], name)
    return { x, arguments in
      do throws(TemperError) {
        return try build(Formula(arguments: arguments, inputs: [input: x]))
      } catch {
        return .invalid(error.from(origin))
      }
    }
  }
}
