import TemperCore
import TemperNetworks

extension TensorFile {
  /// Fills the parameters and running statistics of a model: all, or none where something is missing or does not fit.
  ///
  /// `names`: by the model's name the file's, where they differ; "name^T" for a matrix stored as (inputs, outputs), as
  /// MatMul of ONNX has it. What else the file holds is not looked at.
  package func fill(_ model: Model, names: [String: String], workers: Workers) throws(TemperError) {
    let variables = model.parameters + model.buffers
    for name in names.keys.sorted() where !variables.contains(where: { $0.name == name }) {
      throw TemperError(.unknownName, "The model has no parameter \"\(name)\" that could be filled.")
    }
    var found: [(Tensor, Tensor)] = []
    for variable in variables {
      guard let target = variable.tensor else {
        throw TemperError(.wrongState, "The model's weights are packed; fill the float model.")
      }
      let given = names[variable.name] ?? variable.name
      let isTurned = given.hasSuffix("^T")
      var tensor = try tensor(isTurned ? String(given.dropLast(2)) : given, workers: workers)
      if isTurned, tensor.shape.rank == 2 { tensor = try tensor.permuted([1, 0]) }
      guard tensor.shape == target.shape, tensor.dtype.isFloating else {
        throw TemperError(
          .invalidShape,
          "\"\(variable.name)\" has the shape \(target.shape), and \"\(given)\" is \(tensor.dtype.name) of shape \(tensor.shape)."
        )
      }
      found.append((target, tensor))
    }
    for (target, tensor) in found { try target.assign(from: tensor) }
  }
}
