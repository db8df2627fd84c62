import TemperCore
import TemperGraph
import TemperTraining

/// An array of a method's own that moves by Adam inside the step's plan.
struct KeptAdam {
  let name: String
  let shape: Shape

  init(_ name: String, _ shape: Shape) { (self.name, self.shape) = (name, shape) }

  @discardableResult
  func prepare(_ training: Training, initial: Double = 0) throws(TemperError) -> Tensor {
    try training.keep(name + ".m", shape)
    try training.keep(name + ".v", shape)
    try training.keep(name + ".steps")
    return try training.keep(name, shape, initial: initial)
  }

  /// The array after a step, which the run takes over.
  @discardableResult
  func move(_ step: StepGraph, by slope: Expression, rate: Double) throws(TemperError) -> Expression {
    let slope = slope.stopGradient
    let steps = try step.whole(name + ".steps") + 1
    let m = 0.9 * (try step.whole(name + ".m")) + 0.1 * slope
    let v = 0.999 * (try step.whole(name + ".v")) + 0.001 * square(slope)
    // 1 - b^steps
    let (first, second) = (1 - exp(steps * logarithm(0.9)), 1 - exp(steps * logarithm(0.999)))
    let new = try step.whole(name) - rate * (m / first) / (sqrt(v / second) + 1e-8)
    for (part, value) in [(".m", m), (".v", v), (".steps", steps), ("", new)] {
      try step.update(name + part, to: value)
    }
    return new.stopGradient
  }
}
