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
      let tensor = try training.keep(name, shape)
      if !(beginsFlat && layer == widths.count - 1) {
        var random = training.random("side network").stream(name)
        let bound = 1 / Double(widths[layer - 1]).squareRoot()
        let values = (0..<shape.count).map { _ in bound * (2 * random.uniform() - 1) }
        try tensor.assign(from: try Tensor(values, shape: shape))
      }
      try training.keep(name + ".m", shape)
      try training.keep(name + ".v", shape)
    }
    try training.keep(name + ".steps")
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
  func moved(
    _ step: StepGraph, _ parameters: [Expression], by slopes: [Expression], rate: Double
  ) throws(TemperError) -> [Expression] {
    let steps = try step.whole(name + ".steps") + 1
    try step.update(name + ".steps", to: steps)
    var moved: [Expression] = []
    for (index, (name, _)) in shapes.enumerated() {
      let slope = slopes[index].stopGradient
      let m = 0.9 * (try step.whole(name + ".m")) + 0.1 * slope
      let v = 0.999 * (try step.whole(name + ".v")) + 0.001 * square(slope)
      // 1 - b^steps
      let (first, second) = (1 - exp(steps * logarithm(0.9)), 1 - exp(steps * logarithm(0.999)))
      let new = parameters[index] - rate * (m / first) / (sqrt(v / second) + 1e-8)
      try step.update(name + ".m", to: m)
      try step.update(name + ".v", to: v)
      try step.update(name, to: new)
      moved.append(new.stopGradient)
    }
    return moved
  }
}
