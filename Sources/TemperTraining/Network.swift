import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// A model under training: its parameters as one vector, a gradient vector beside it, and the optimizer's pass.
package final class Network {
  package let model: Model
  /// All trained parameters, in the order of the model's storage.
  package let parameters: Tensor
  /// Written by every step, laid out as `parameters`.
  package let gradient: Tensor
  let gradients: [Tensor]
  let motion: Motion
  /// What the optimizer moves one by one.
  let parts: [UpdateEngine.Part]
  /// Whether that is the parameters as one vector.
  private let isWhole: Bool
  /// Of the gradient, at the last step.
  var norm = 0.0
  private var partialSums: [Double]

  package var type: DType { parameters.dtype }

  init(
    _ model: Model, optimizer: Method, _ groups: [OptimizerInstance.Group], clipping: GradientClipping,
    workers: Workers
  ) throws(TemperError) {
    self.model = model
    parameters = model.flat
    gradient = try Tensor(zeros: parameters.shape, parameters.dtype)
    var parts: [UpdateEngine.Part] = []
    for (position, variable) in model.trained.enumerated() {
      guard let parameter = variable.tensor else {
        throw TemperError(
          .unsupported, "\"\(variable.name)\" holds packed weights, which cannot be trained; train the float model.")
      }
      let place = try Tensor(
        storage: gradient.storage, byteOffset: parameter.byteOffset - parameters.byteOffset, dtype: parameter.dtype,
        shape: parameter.shape, strides: parameter.strides)
      let group = groups.firstIndex { $0.positions.contains(position) } ?? 0
      parts.append(UpdateEngine.Part(parameter, place, group: group))
    }
    if let stranger = groups.flatMap(\.positions).max(), stranger >= parts.count {
      throw TemperError(
        .outOfRange, "A group of the optimizer has parameter \(stranger); the model trains \(parts.count).")
    }
    gradients = parts.map(\.gradient)
    partialSums = [Double](repeating: 0, count: parameters.count / (1 << 16) + 1)
    let whole = UpdateEngine.Part(parameters, gradient)
    if case .search(let make) = optimizer.implementation {
      guard clipping == GradientClipping() else {
        throw TemperError(
          .unsupported, "It searches along the loss's own gradients; they cannot be clipped.", origin: optimizer.name)
      }
      isWhole = true
      self.parts = [whole]
      let arrays = try Arrays([parameters], [gradient])
      motion = .search(SearchEngine(try make(groups[0].arguments), arrays), arrays)
      return
    }
    // One pass over the flat vector where the rule works element by element and is the same for all.
    isWhole = optimizer.properties.contains("elementwise") && groups.count == 1
    self.parts = isWhole ? [whole] : parts
    motion = .rule(
      try UpdateEngine(optimizer, groups.map(\.arguments), parts: self.parts, clipping: clipping, workers: workers))
  }

  /// State of the optimizer, under names for checkpoints.
  var optimizerStates: [(name: String, tensor: Tensor)] {
    guard case .rule(let engine) = motion else { return [] }
    let states = engine.states
    if isWhole { return states.flatMap { $0 } }
    return states.enumerated().flatMap { index, list in list.map { ("\(index).\($0.name)", $0.tensor) } }
  }

  /// The gradient of one of the trained parameters.
  package func gradient(of position: Int) -> Tensor { gradients[position] }

  /// What the optimizer keeps of one of the trained parameters, in the parameter's shape, by name.
  package func optimizerStates(of position: Int) throws(TemperError) -> [(name: String, tensor: Tensor)] {
    guard case .rule(let engine) = motion else { return [] }
    guard isWhole else { return engine.states[position] }
    let place = gradients[position]
    var found: [(name: String, tensor: Tensor)] = []
    for (name, state) in engine.states[0] where state.count == parameters.count {
      found.append(
        (
          name,
          try Tensor(
            storage: state.storage, byteOffset: state.byteOffset + place.byteOffset - gradient.byteOffset,
            dtype: place.dtype, shape: place.shape, strides: place.strides)
        ))
    }
    return found
  }

  /// Euclidean norm of the gradient, in double precision; not finite if any element is not.
  func gradientNorm(_ workers: Workers) -> Double {
    gradient.sumOfSquares(workers, partial: &partialSums).squareRoot()
  }
}
