import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// The matrices of the first network with a mask each: what is outside is 0 and stays so, in the weights and in what the
/// optimizer keeps of them. Vectors stay dense.
struct SparseMatrices {
  /// Whether the optimizer's averages go on where a weight is outside.
  let keepsMomentum: Bool

  /// Positions of the matrices among the trained parameters.
  private func positions(_ training: Training) -> [Int] {
    let trained = training.networks[0].model.trained
    return trained.indices.filter { trained[$0].shape.rank > 1 }
  }

  func shapes(_ training: Training) -> [Shape] {
    positions(training).map { training.networks[0].model.trained[$0].shape }
  }

  /// Masks with so many connections each, at random places.
  func prepare(_ training: Training, counts: [Int]) throws(TemperError) {
    for (index, shape) in shapes(training).enumerated() {
      var random = training.random("connections").stream(index)
      var mask = [Double](repeating: 0, count: shape.count)
      for place in random.permutation(shape.count).prefix(counts[index]) { mask[place] = 1 }
      try training.keep("mask\(index)", shape).assign(from: try Tensor(mask, shape: shape))
    }
  }

  func mask(_ training: Training, _ index: Int) throws(TemperError) -> [Double] {
    try training.kept("mask\(index)").array(of: Double.self)
  }

  func weights(_ training: Training, _ index: Int) throws(TemperError) -> Tensor {
    let variable = training.networks[0].model.trained[positions(training)[index]]
    guard let tensor = variable.tensor else {
      throw TemperError(.unsupported, "\"\(variable.name)\" holds packed weights, which cannot be trained.")
    }
    return tensor
  }

  /// The gradient of the last step, inside and outside.
  func gradient(_ training: Training, _ index: Int) throws(TemperError) -> [Double] {
    try training.networks[0].gradient(of: positions(training)[index]).array(of: Double.self)
  }

  func states(_ training: Training, _ index: Int) throws(TemperError) -> [(name: String, tensor: Tensor)] {
    try training.networks[0].optimizerStates(of: positions(training)[index])
  }

  /// Puts zeros outside; after every step.
  func apply(_ training: Training) throws(TemperError) {
    for index in shapes(training).indices {
      let mask = try training.kept("mask\(index)")
      try weights(training, index).keep(where: mask)
      if keepsMomentum { continue }
      for state in try states(training, index) where state.tensor.count == mask.count { state.tensor.keep(where: mask) }
    }
  }

  /// Takes connections out and puts others in, which begin with these values and without a past.
  func replace(
    _ training: Training, _ index: Int, removed: [Int], grown: [(place: Int, value: Double)]
  ) throws(TemperError) {
    var mask = try mask(training, index)
    let tensor = try weights(training, index)
    var weights = try tensor.array(of: Double.self)
    for place in removed { (mask[place], weights[place]) = (0, 0) }
    for (place, value) in grown { (mask[place], weights[place]) = (1, value) }
    try training.kept("mask\(index)").assign(from: try Tensor(mask, shape: tensor.shape))
    try tensor.assign(from: try Tensor(weights, shape: tensor.shape))
    for state in try states(training, index) where state.tensor.count == mask.count {
      var values = try state.tensor.array(of: Double.self)
      for place in removed { values[place] = 0 }
      for (place, _) in grown { values[place] = 0 }
      try state.tensor.assign(from: try Tensor(values, shape: state.tensor.shape))
    }
  }
}
