import TemperCore
import TemperGraph

/// A named array of a model: a parameter, which training changes by gradients, or a buffer (running statistics), which
/// the forward pass changes itself.
package struct Variable: Sendable {
  /// How a layer uses a parameter: what an operation that replaces it must compute.
  package enum Use: Hashable, Sendable {
    /// x (..., in) times the transpose of (out, in).
    case product
    /// Weight (out, in / groups, height, width) of a convolution; "same" padding is done before.
    case convolution(Convolution)
    /// Rows (entries, width) looked up by index.
    case table
    /// Anything else: biases, scales, recurrent weights.
    case elements
  }

  /// The path of the layer and the part's own name: "0.weight", "2.1.running_mean".
  package let name: String
  package let shape: Shape
  package internal(set) var use: Use
  /// Kept as it is: no gradient, no optimizer moves it.
  package let isFrozen: Bool
  /// nil where a model was built without it, because an operation of another room stands in for it.
  package internal(set) var tensor: Tensor?
  var isAbsent = false

  let initial: Initial

  init(name: String, shape: Shape, use: Use = .elements, isFrozen: Bool = false, initial: Initial) {
    (self.name, self.shape, self.use, self.isFrozen, self.initial) = (name, shape, use, isFrozen, initial)
  }

  struct Initial: Sendable {
    let initializer: Initializer
    let fanIn: Int, fanOut: Int
  }
}

/// The variables of a model by name.
struct VariableTable: Sendable {
  var parameters: [Variable]
  var buffers: [Variable]
  private let places: [String: (isBuffer: Bool, index: Int)]

  init(parameters: [Variable], buffers: [Variable]) {
    (self.parameters, self.buffers) = (parameters, buffers)
    var places: [String: (isBuffer: Bool, index: Int)] = [:]
    for (index, variable) in parameters.enumerated() { places[variable.name] = (false, index) }
    for (index, variable) in buffers.enumerated() { places[variable.name] = (true, index) }
    self.places = places
  }

  subscript(name: String) -> Variable? {
    places[name].map { $0.isBuffer ? buffers[$0.index] : parameters[$0.index] }
  }
}
