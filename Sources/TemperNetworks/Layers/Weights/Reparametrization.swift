import TemperCatalogue
import TemperCore
import TemperGraph

/// Layers that hold others and put something else in place of their weights: every matrix, kernel and table, seen as
/// rows (outputs, everything else).
extension LayerBuilder {
  static let heldLayers = LayerOption(.text("layers", "", "The layers, one after the other.").required, .layers)

  /// What stands for a weight, for each pass.
  typealias Substitute = @Sendable (_ weight: Expression, _ pass: Pass) -> Expression

  /// The held layers with `substitute(weight)` for each of their weights.
  func reparametrized(
    freezing isFrozen: Bool = false, _ substitute: (WeightRows) throws(TemperError) -> Substitute
  ) throws(TemperError) -> Forward {
    let first = assembly.parameters.count
    let body = isFrozen ? try freezing { () throws(TemperError) in try held() } : try held()
    var substitutes: [(name: String, apply: Substitute)] = []
    for index in first..<assembly.parameters.count where assembly.parameters[index].use != .elements {
      let weight = assembly.parameters[index]
      substitutes.append((weight.name, try substitute(WeightRows(weight, self))))
      // No product with the weight as it stands is left that packed weights could stand in for.
      assembly.parameters[index].use = .elements
    }
    guard !substitutes.isEmpty else {
      throw TemperError(.invalidArgument, "It works on the weights of the layers that it holds, and they have none.")
    }
    let all = substitutes
    return { x, pass in
      var values: [String: Expression] = [:]
      for (name, apply) in all { values[name] = apply(pass[name], pass) }
      return pass.replacing(values) { body.forward(x, pass) }
    }
  }
}

/// A weight as rows, and arrays beside it.
struct WeightRows {
  let name: String
  let shape: Shape
  let rows: Int, columns: Int
  private let layer: LayerBuilder

  fileprivate init(_ weight: Variable, _ layer: LayerBuilder) {
    (name, shape, self.layer) = (weight.name, weight.shape, layer)
    rows = max(weight.shape.sizes.first ?? 1, 1)
    columns = weight.shape.count / rows
  }

  /// Below the holder's path, the weight's own name goes on: "0.weight" and "g" are "0.weight_g".
  private func local(_ suffix: String) -> String { String(name.dropFirst(layer.path.count + 1)) + "_" + suffix }

  /// Declares a trained or frozen array beside the weight and gives its full name.
  func parameter(
    _ suffix: String, _ shape: [Int], _ initializer: Initializer, fanIn: Int = 1, isFrozen: Bool = false
  ) throws(TemperError) -> String {
    try layer.parameter(local(suffix), shape, initializer, fanIn: fanIn, isFrozen: isFrozen)
  }

  func buffer(_ suffix: String, _ shape: [Int], _ initializer: Initializer) throws(TemperError) -> String {
    try layer.buffer(local(suffix), shape, initializer)
  }

  /// A new model's `array` starts with what `values` makes of the weight.
  func start(_ array: String, _ values: @escaping @Sendable (_ weight: [Double]) -> [Double]) {
    let name = name
    layer.start(array) { model throws(TemperError) in values(try model.values(name)) }
  }

  var rowNorms: @Sendable ([Double]) -> [Double] {
    let (rows, columns) = (rows, columns)
    return { weight in
      (0..<rows).map { row in
        (0..<columns).reduce(0) { $0 + weight[row * columns + $1] * weight[row * columns + $1] }.squareRoot()
      }
    }
  }
}

extension Model {
  /// The elements of a variable; none where it has no memory.
  func values(_ name: String) throws(TemperError) -> [Double] {
    try variable(name)?.tensor?.array(of: Double.self) ?? []
  }
}

extension Expression {
  /// sqrt(sum of squares) of each row, (rows, 1), with slope 0 where it is 0.
  func rowNorms() -> Expression {
    let squares = square(self).sum()
    let isZero = squares .== 0
    return .select(isZero, .constant(0), sqrt(.select(isZero, .constant(1), squares)))
  }
}
