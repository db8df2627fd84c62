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
  let update: UpdateEngine
  /// Of the gradient, at the last step.
  var norm = 0.0
  private var partialSums: [Double]

  package var type: DType { parameters.dtype }

  init(
    _ model: Model, optimizer: Method, _ arguments: Arguments, clipping: GradientClipping, workers: Workers
  ) throws(TemperError) {
    self.model = model
    parameters = model.flat
    gradient = try Tensor(zeros: parameters.shape, parameters.dtype)
    var parts: [UpdateEngine.Part] = []
    for variable in model.trained {
      guard let parameter = variable.tensor else {
        throw TemperError(
          .unsupported, "\"\(variable.name)\" holds packed weights, which cannot be trained; train the float model.")
      }
      let place = try Tensor(
        storage: gradient.storage, byteOffset: parameter.byteOffset - parameters.byteOffset, dtype: parameter.dtype,
        shape: parameter.shape, strides: parameter.strides)
      parts.append(UpdateEngine.Part(parameter, place))
    }
    gradients = parts.map(\.gradient)
    partialSums = [Double](repeating: 0, count: parameters.count / (1 << 16) + 1)
    // One pass over the flat vector where the rule works element by element.
    let isWhole = optimizer.properties.contains("elementwise")
    update = try UpdateEngine(
      optimizer, [arguments], parts: isWhole ? [UpdateEngine.Part(parameters, gradient)] : parts, clipping: clipping,
      workers: workers)
  }

  /// State of the optimizer, under names for checkpoints.
  var optimizerStates: [(name: String, tensor: Tensor)] {
    let states = update.states
    if update.method.properties.contains("elementwise") { return states.flatMap { $0 } }
    return states.enumerated().flatMap { index, list in list.map { ("\(index).\($0.name)", $0.tensor) } }
  }

  /// Euclidean norm of the gradient, in double precision; not finite if any element is not.
  func gradientNorm(_ workers: Workers) -> Double {
    gradient.sumOfSquares(workers, partial: &partialSums).squareRoot()
  }
}
