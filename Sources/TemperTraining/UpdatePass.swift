import TemperCatalogue
import TemperCore
import TemperGraph

/// A parameter, or all of them as one vector, and where its gradient is written.
struct ParameterPair {
  let parameter: Tensor
  let gradient: Tensor
}

/// An optimizer's step of one network, bound once: a single fused pass over the flat vector where the rule works
/// element by element, one pass for each parameter where it does not (orthogonalised and factored updates).
final class UpdatePass {
  private let executions: [Execution]
  /// All state, under names for checkpoints.
  let states: [(name: String, tensor: Tensor)]
  private let numbers: [(tensor: Tensor, value: @Sendable (StepNumbers) -> Double)]
  private let gradientScale: Tensor

  /// `whole`: all parameters as one vector; `parts`: one by one.
  init(
    _ optimizer: Method, _ arguments: Arguments, whole: ParameterPair, parts: [ParameterPair],
    clipping: GradientClipping, workers: Workers
  ) throws(TemperError) {
    let type = whole.parameter.dtype
    gradientScale = try Tensor(zeros: [], type)
    var scalars = ["gradient_scale": gradientScale]
    var executions: [Execution] = []
    var states: [(name: String, tensor: Tensor)] = []
    var numbers: [(tensor: Tensor, value: @Sendable (StepNumbers) -> Double)] = []
    let isElementwise = optimizer.properties.contains("elementwise")
    for (index, pair) in (isElementwise ? [whole] : parts).enumerated() {
      let update = try UpdateExpression(
        optimizer, arguments, parameter: .input("parameter", pair.parameter.shape),
        gradient: clipping.clipped(.input("gradient", pair.parameter.shape)))
      var arrays = ["parameter": pair.parameter, "gradient": pair.gradient]
      for state in update.states {
        let tensor = try Tensor(zeros: pair.parameter.shape, type)
        if state.initial != 0 { try tensor.fill(state.initial) }
        states.append((isElementwise ? state.name : "\(index).\(state.name)", tensor))
        arrays["state." + state.name] = tensor
      }
      for number in update.numbers where scalars["number." + number.name] == nil {
        let tensor = try Tensor(zeros: [], type)
        scalars["number." + number.name] = tensor
        numbers.append((tensor, number.value))
      }
      let outputs =
        [Output(update.parameter, inPlaceOf: "parameter")]
        + update.states.map { Output($0.value, inPlaceOf: "state." + $0.name) }
      let execution = try Execution(try Plan(outputs, type: type), workers: workers)
      for input in execution.plan.inputs {
        guard let tensor = arrays[input.name] ?? scalars[input.name] else {
          throw TemperError(.internalFault, "The rule reads \"\(input.name)\", which nothing provides.")
            .from(optimizer.name)
        }
        try execution.bind(input.name, to: tensor)
      }
      executions.append(execution)
    }
    (self.executions, self.states, self.numbers) = (executions, states, numbers)
  }

  /// Moves the parameters by one step, the gradient times `scale` first.
  func run(_ step: StepNumbers, scale: Double) throws(TemperError) {
    gradientScale.set(scale)
    for number in numbers { number.tensor.set(number.value(step)) }
    for execution in executions { try execution.run() }
  }
}

extension GradientClipping {
  /// By the global norm, then by value; part of the update's own pass over memory.
  func clipped(_ gradient: Expression) -> Expression {
    let scaled = norm == nil ? gradient : gradient * .input("gradient_scale", [])
    return value.map { clamp(scaled, -$0, $0) } ?? scaled
  }

  /// min(1, bound / norm)
  func scale(_ norm: Double) -> Double {
    guard let bound = self.norm, norm > bound else { return 1 }
    return bound / norm
  }

  func validate() throws(TemperError) {
    for bound in [value, norm] {
      guard let bound else { continue }
      guard bound > 0, bound.isFinite else {
        throw TemperError(.outOfRange, "Gradients are clipped at a finite number above 0; \(bound) came.")
      }
    }
  }
}
