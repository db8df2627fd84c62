import TemperCatalogue
import TemperCore
import TemperGraph
import TemperTraining

/// A small network of a method's own beside those that the trainer trains: dense layers with relu between, kept with the
/// run and moved by Adam inside the step's plan.
struct SideNetwork {
  private let name: String
  private let widths: [Int]
  /// Whether the last layer begins at 0, so that every input has one output.
  private let beginsFlat: Bool

  init(_ name: String, widths: [Int], beginsFlat: Bool = false) {
    (self.name, self.widths, self.beginsFlat) = (name, widths, beginsFlat)
  }

  private var shapes: [(name: String, shape: Shape)] {
    (1..<widths.count).flatMap { layer in
      [
        ("\(name).\(layer).weight", Shape([widths[layer], widths[layer - 1]])),
        ("\(name).\(layer).bias", Shape([1, widths[layer]])),
      ]
    }
  }

  /// Weights and biases begin uniform in [-1, 1] / sqrt(inputs).
  func prepare(_ training: Training) throws(TemperError) {
    for (index, (name, shape)) in shapes.enumerated() {
      let layer = index / 2 + 1
      let tensor = try KeptAdam(name, shape).prepare(training)
      if beginsFlat && layer == widths.count - 1 { continue }
      var random = training.random("side network").stream(name)
      let bound = 1 / Double(widths[layer - 1]).squareRoot()
      let values = (0..<shape.count).map { _ in bound * (2 * random.uniform() - 1) }
      try tensor.assign(from: try Tensor(values, shape: shape))
    }
  }

  func parameters(_ step: StepGraph) throws(TemperError) -> [Expression] {
    var found: [Expression] = []
    for (name, _) in shapes { found.append(try step.whole(name)) }
    return found
  }

  /// What it makes of x (B, widths[0]) before any last non-linearity.
  func outputs(_ x: Expression, _ parameters: [Expression]) -> Expression {
    var y = x
    for layer in 0..<widths.count - 1 {
      if layer > 0 { y = relu(y) }
      y = Expression.matmul(y, parameters[2 * layer], transposeB: true) + parameters[2 * layer + 1]
    }
    return y
  }

  /// The parameters after a step of Adam, which the run takes over.
  @discardableResult
  func moved(_ step: StepGraph, by slopes: [Expression], rate: Double) throws(TemperError) -> [Expression] {
    var moved: [Expression] = []
    for ((name, shape), slope) in zip(shapes, slopes) {
      moved.append(try KeptAdam(name, shape).move(step, by: slope, rate: rate))
    }
    return moved
  }
}
