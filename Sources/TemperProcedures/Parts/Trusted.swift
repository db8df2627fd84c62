import TemperCatalogue
import TemperCore
import TemperGraph
import TemperTraining

/// A few samples whose targets are right, beside the data.
enum Trusted {
  static let inputs = [
    Input("trusted_x", [.init(["M", "..."])], "Samples whose targets are right; all are looked at in every step."),
    Input("trusted_y", [.init(["M"], .index(below: "C"))], "Their class ids."),
  ]
}

extension StepGraph {
  /// The mean loss of the trusted samples in a network with these parameters.
  func trustedLoss(_ network: Int = 0, parameters: [Expression]? = nil) throws(TemperError) -> Expression {
    let y = try whole("trusted_y")
    let outputs = try forward(network, try trustedX(network), parameters: parameters)
    return try loss(of: outputs, inputs: ["targets": y]).reduced(.mean)
  }

  func trustedX(_ network: Int = 0) throws(TemperError) -> Expression { try wholeSamples("trusted_x", network) }

  /// Samples beside the data, as a network takes them.
  func wholeSamples(_ name: String, _ network: Int = 0) throws(TemperError) -> Expression {
    let x = try whole(name)
    let shape = training.networks[network].model.input.shape
    guard x.shape.count == x.shape[0] * shape.count else {
      throw TemperError(
        .invalidShape, "\(name) must be samples like x, of shape \(shape) each; it has \(x.shape.count) elements.")
    }
    return x.reshaped(Shape([x.shape[0]] + shape.sizes))
  }

  /// Targets as a probability for each class, (B, C).
  func targetProbabilities(_ classes: Int) throws(TemperError) -> Expression {
    let targets = try rows("targets")
    return targets.kind == .index ? .oneHot(targets.reshaped([count, 1]), columns: classes) : targets
  }
}
