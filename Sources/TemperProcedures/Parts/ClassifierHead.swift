import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// The dense layer at the end of a classifier, apart from the layers below it, the encoder: logits = h Wᵀ + b.
struct ClassifierHead {
  /// Positions among the trained parameters.
  let weight: Int
  let bias: Int?
  let classes: Int
  let width: Int

  init(_ model: Model) throws(TemperError) {
    let prefix = "\(model.description.layers.count - 1)."
    let own = model.trained.indices.filter { model.trained[$0].name.hasPrefix(prefix) }
    guard let weight = own.first(where: { model.trained[$0].name == prefix + "weight" }),
      model.trained[weight].use == .product, own.count <= 2,
      own.allSatisfy({ $0 == weight || model.trained[$0].name == prefix + "bias" })
    else {
      throw TemperError(.unsupported, "It needs a model whose last layer is dense, with what is below as its encoder.")
    }
    (self.weight, bias) = (weight, own.first { $0 != weight })
    (classes, width) = (model.trained[weight].shape[0], model.trained[weight].shape[1])
  }

  /// Logits of features (N, width) by these parameters of a network.
  func logits(_ features: Expression, _ parameters: [Expression]) -> Expression {
    let products = Expression.matmul(features, parameters[weight], transposeB: true)
    return bias.map { products + parameters[$0].reshaped([1, classes]) } ?? products
  }

  /// The parameters, of which only the head's can be moved.
  func alone(_ parameters: [Expression]) -> [Expression] {
    parameters.enumerated().map { $0 == weight || $0 == bias ? $1 : $1.stopGradient }
  }

  /// Weights, row after row, and biases as they are now.
  func values(_ network: Network) throws(TemperError) -> (weights: [Double], biases: [Double]) {
    let zeros = [Double](repeating: 0, count: classes)
    let weights = try network.model.trained[weight].tensor?.array(of: Double.self)
    let biases = try bias.flatMap { network.model.trained[$0].tensor }?.array(of: Double.self)
    return (weights ?? [Double](repeating: 0, count: classes * width), biases ?? zeros)
  }
}

extension StepGraph {
  /// What the last layer takes, for a pass of `forward`, as (N, width).
  func flatFeatures(of outputs: Expression) throws(TemperError) -> Expression {
    let features = try features(of: outputs)
    return features.reshaped([features.shape[0], features.shape.count / features.shape[0]])
  }

  /// x with normal noise of this deviation on every number: another view.
  func noisy(_ x: Expression, _ deviation: Double) -> Expression {
    deviation > 0 ? x + deviation * normal(x.shape) : x
  }
}
