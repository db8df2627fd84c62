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
  let update: UpdatePass
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
    var pairs: [ParameterPair] = []
    for variable in model.trained {
      guard let parameter = variable.tensor else {
        throw TemperError(
          .unsupported, "\"\(variable.name)\" holds packed weights, which cannot be trained; train the float model.")
      }
      let place = try Tensor(
        storage: gradient.storage, byteOffset: parameter.byteOffset - parameters.byteOffset, dtype: parameter.dtype,
        shape: parameter.shape, strides: parameter.strides)
      pairs.append(ParameterPair(parameter: parameter, gradient: place))
    }
    gradients = pairs.map(\.gradient)
    partialSums = [Double](repeating: 0, count: parameters.count / (1 << 16) + 1)
    update = try UpdatePass(
      optimizer, arguments, whole: ParameterPair(parameter: parameters, gradient: gradient), parts: pairs,
      clipping: clipping, workers: workers)
  }

  /// Euclidean norm of the gradient, in double precision; not finite if any element is not.
  func gradientNorm(_ workers: Workers) -> Double {
    gradient.sumOfSquares(workers, partial: &partialSums).squareRoot()
  }
}
