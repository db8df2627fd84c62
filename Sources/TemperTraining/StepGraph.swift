import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// What a procedure builds one step from, for batches of one size: rows of the samples, networks, the loss, numbers of
/// the step, and what is kept.
package final class StepGraph {
  /// Samples in the batch.
  package let count: Int
  /// Which of the procedure's objectives this is.
  package let phase: Int
  package let training: Training
  private let lossInstance: LossInstance
  /// The loss's parameters as they are now, and those of them that move but are built in.
  let arguments: Arguments
  private(set) var builtIn: Set<String> = []
  private var passes = 0
  private var inputs: [String: Expression] = [:]
  private(set) var sources: [String: Source] = [:]
  /// New values of buffers and kept arrays.
  private(set) var changes: [(target: Source, value: Expression)] = []
  /// What layers made of the passes besides their outputs.
  private var views: [ObjectIdentifier: View] = [:]
  private var penalties: [Expression] = []
  /// What the last layer took to make an output, and what each layer of the description gave on the way.
  private var lastInputs: [ObjectIdentifier: (output: Expression, input: Expression, layers: [String: Expression])] =
    [:]
  private var draws: UInt32 = 0

  /// How the loss of a network's outputs is taken.
  private struct View {
    let output: Expression
    /// The loss is averaged over these.
    let heads: [Expression]
    /// The share of each sample; the rest is the next one's.
    let mixing: Expression?
  }

  /// Where an input of the step's plan comes from.
  enum Source {
    /// Rows of an array, gathered by the batch's ids.
    case rows(Tensor)
    /// Rows that are read by the batch's ids.
    case source(CheckedRows)
    /// An array as it is.
    case whole(Tensor)
    case number((Position) -> Double)
  }

  package init(count: Int, phase: Int = 0, training: Training, loss: LossInstance, arguments: Arguments? = nil) {
    (self.count, self.phase, self.training, lossInstance) = (count, phase, training, loss)
    self.arguments = arguments ?? loss.arguments
  }

  /// The one expression that stands for an input: gradients are taken with respect to nodes, not names.
  private func input(_ name: String, _ shape: Shape, _ source: Source, _ kind: Kind = .real) -> Expression {
    if let known = inputs[name] { return known }
    let made = Expression.input(name, shape, kind)
    (inputs[name], sources[name]) = (made, source)
    return made
  }

  /// The batch's rows of an array: "x", the loss's inputs by their names, the procedure's own, or what is kept by row.
  package func rows(_ name: String) throws(TemperError) -> Expression {
    if name == "x" {
      let samples = training.samples
      let source: Source
      switch samples.x {
      case .array(let tensor): source = .rows(tensor)
      case .rows(let rows): source = .source(rows)
      }
      return input("sample.x", Shape([count] + samples.x.shape.sizes.dropFirst()), source, samples.xKind)
    }
    if let array = training.samples.rows[name] {
      return input("sample." + name, batchShape(array.tensor), .rows(array.tensor), array.kind)
    }
    let kept = try training.find(name)
    guard kept.isByRow else { throw TemperError(.internalFault, "\"\(name)\" is not kept by row.") }
    return input("kept." + kept.name, batchShape(kept.tensor), .rows(kept.tensor))
  }

  private func batchShape(_ tensor: Tensor) -> Shape { Shape([count] + tensor.shape.sizes.dropFirst()) }

  /// An array that is not by row: of the loss, of the procedure (trusted samples), or kept.
  package func whole(_ name: String) throws(TemperError) -> Expression {
    if let array = training.samples.whole[name] {
      return input("sample." + name, array.tensor.shape, .whole(array.tensor), array.kind)
    }
    let kept = try training.find(name)
    guard !kept.isByRow else { throw TemperError(.internalFault, "\"\(name)\" is kept by row.") }
    return input("kept." + kept.name, kept.tensor.shape, .whole(kept.tensor))
  }

  /// The new value of what is kept, by row or as a whole; written after the step.
  package func update(_ name: String, to value: Expression) throws(TemperError) {
    let kept = try training.find(name)
    let shape = kept.isByRow ? batchShape(kept.tensor) : kept.tensor.shape
    changes.append((kept.isByRow ? .rows(kept.tensor) : .whole(kept.tensor), value.stopGradient.reshaped(shape)))
  }

  /// A number that may differ from step to step, such as the share of samples to keep.
  package func number(_ name: String, _ value: @escaping (Position) -> Double) -> Expression {
    input("number." + name, [], .number(value))
  }

  /// The learning rate of the step.
  package var learningRate: Expression {
    number("learning rate") { [training] in training.learningRate($0.steps) }
  }

  /// Numbers in [0, 1), or standard normal ones, that no other draw of this or another step shares.
  package func uniform(_ shape: Shape) -> Expression {
    draws += 1
    // Passes draw from the streams that begin at 0.
    return .uniform(shape, clock: clock, stream: UInt32.max - draws)
  }

  package func normal(_ shape: Shape) -> Expression {
    draws += 2
    return .normal(shape, clock: clock, stream: UInt32.max - draws)
  }

  private var clock: Expression { input("clock", [4], .whole(training.clock), .index) }

  /// What the last layer took to make an output of `forward`: the features.
  package func features(of output: Expression) throws(TemperError) -> Expression {
    guard let found = lastInputs[ObjectIdentifier(output.node)] else {
      throw TemperError(.internalFault, "Features are asked for of something that is no network's output.")
    }
    return found.input
  }

  /// What layers gave on the way to an output of `forward`, by their path: "0" is the description's first.
  package func layerOutputs(of output: Expression) throws(TemperError) -> [String: Expression] {
    guard let found = lastInputs[ObjectIdentifier(output.node)] else {
      throw TemperError(.internalFault, "Layers are asked for of something that is no network's output.")
    }
    return found.layers
  }

  /// A network's output for the batch, or for `x`: another view of it, or other samples. Running statistics follow what
  /// passes through, unless `parameters` stand in for the network's own (after a step that is only tried), or the pass
  /// is one of inference (a teacher). `changes`: what becomes of layers' outputs, by path.
  package func forward(
    _ network: Int = 0, _ x: Expression? = nil, parameters: [Expression]? = nil, mode: Pass.Mode = .training,
    changes: [String: (Expression) -> Expression] = [:]
  ) throws(TemperError) -> Expression {
    let model = training.networks[network].model
    var values: [String: Expression] = [:]
    for (variable, value) in zip(model.trained, parameters ?? self.parameters(network)) {
      values[variable.name] = value
    }
    for variable in model.kept { values[variable.name] = self.variable(network, variable) }
    let view: Expression
    if let x { view = x } else { view = try rows("x") }
    let mask = model.needsMask ? try rows("mask") : nil
    let clock = clock
    // Each pass draws from streams of its own: no model has 2^16 draws. The two of a pair share them.
    func walk(isMirrored: Bool) -> (output: Expression, pass: Pass) {
      let pass = model.pass(
        mode, values: values, clock: clock, mask: mask, firstStream: UInt32(passes) << 16, isMirrored: isMirrored)
      pass.changes = changes
      return (model.forward(view, pass), pass)
    }
    let (output, pass) = walk(isMirrored: false)
    var heads = pass.heads.isEmpty ? [output] : pass.heads
    let isMirrored = model.isMirrored && mode == .training
    let count = isMirrored ? 2.0 : 1
    penalties += pass.penalties.map { $0 / count }
    if isMirrored {
      let (mirrored, other) = walk(isMirrored: true)
      heads += other.heads.isEmpty ? [mirrored] : other.heads
      penalties += other.penalties.map { $0 / count }
    }
    passes += 1
    let last = model.description.layers.count - 1
    let features = last > 0 ? pass.outputs["\(last - 1)"] ?? view : view
    lastInputs[ObjectIdentifier(output.node)] = (output, features, pass.outputs)
    if heads.count > 1 || pass.mixing != nil {
      views[ObjectIdentifier(output.node)] = View(output: output, heads: heads, mixing: pass.mixing)
    }
    for update in pass.updates where parameters == nil {
      guard let buffer = model.buffers.first(where: { $0.name == update.name })?.tensor else { continue }
      self.changes.append((.whole(buffer), update.value))
    }
    return output
  }

  /// The objective with what layers add to it.
  func penalized(_ objective: Expression) -> Expression {
    penalties.reduce(objective) { $0 + $1.reshaped($0.shape) }
  }

  /// The trained parameters of a network as this graph reads them.
  package func parameters(_ network: Int = 0) -> [Expression] {
    training.networks[network].model.trained.map { variable(network, $0) }
  }

  private func variable(_ network: Int, _ variable: Variable) -> Expression {
    guard let tensor = variable.tensor else {
      return .invalid(.internalFault, "The model holds no values of \"\(variable.name)\".")
    }
    return input("network\(network).\(variable.name)", variable.shape, .whole(tensor))
  }

  /// The loss of a network's outputs, with the data's inputs where `replacing` does not give others (corrected
  /// targets, weights). State by sample is kept for each network.
  package func loss(
    of outputs: Expression, network: Int = 0, replacing: [String: Expression] = [:]
  ) throws(TemperError) -> LossExpression {
    var states: [String: Expression] = [:]
    for state in lossInstance.method.state { states[state.name] = try rows(StepGraph.stateName(state.name, network)) }
    if let view = views[ObjectIdentifier(outputs.node)] { return try loss(of: view, replacing) }
    let loss = try build(try lossInputs(outputs, replacing), samples: states)
    for change in loss.updates { try update(StepGraph.stateName(change.name, network), to: change.value) }
    return loss
  }

  /// The mean over the heads of share * the loss of the sample's own targets + (1 - share) * that of the next one's.
  private func loss(of view: View, _ replacing: [String: Expression]) throws(TemperError) -> LossExpression {
    guard lossInstance.method.state.isEmpty else {
      throw TemperError(
        .unsupported, "It keeps state by sample, which has no meaning for mixed samples or several heads.",
        origin: lossInstance.method.name)
    }
    var parts: [LossExpression] = []
    for head in view.heads {
      let inputs = try lossInputs(head, replacing)
      let own = try lossInstance.build(inputs)
      guard let share = view.mixing, count > 1 else {
        parts.append(own)
        continue
      }
      var next = inputs
      for (name, value) in inputs
      where name != training.samples.outputName && !training.samples.lossWhole.contains(name) {
        next[name] = .concatenate([value.slice(1..<count), value.slice(0..<1)])
      }
      let other = try lossInstance.build(next)
      parts.append(
        LossExpression(
          values: share * own.values + (1 - share) * other.values, counted: own.counted, updates: []))
    }
    let sum = parts.dropFirst().reduce(parts[0].values) { $0 + $1.values }
    return LossExpression(values: sum / Double(parts.count), counted: parts[0].counted, updates: [])
  }

  /// The loss of outputs for samples that are not the batch's, with these inputs and state at its initial value.
  package func loss(of outputs: Expression, inputs: [String: Expression]) throws(TemperError) -> LossExpression {
    try build(try outputsAndWhole(outputs).merging(inputs) { $1 })
  }

  /// The loss, with numbers for the parameters that move.
  private func build(
    _ inputs: [String: Expression], samples: [String: Expression] = [:]
  ) throws(TemperError) -> LossExpression {
    var numbers: [String: Expression] = [:]
    for moving in lossInstance.schedules {
      numbers[moving.parameter] = number("loss.\(moving.parameter)") {
        moving.value(steps: $0.steps, epochs: $0.epoch - 1)
      }
    }
    let loss = try lossInstance.build(inputs, samples: samples, numbers: numbers, moved: arguments)
    builtIn.formUnion(Set(numbers.keys).subtracting(loss.live))
    return loss
  }

  private func lossInputs(
    _ outputs: Expression, _ replacing: [String: Expression]
  ) throws(TemperError) -> [String: Expression] {
    var given = try outputsAndWhole(outputs).merging(replacing) { $1 }
    for name in training.samples.lossRows where given[name] == nil { given[name] = try rows(name) }
    return given
  }

  private func outputsAndWhole(_ outputs: Expression) throws(TemperError) -> [String: Expression] {
    let samples = training.samples
    let shape = Shape(outputs.shape.sizes.prefix(1) + samples.outputRow.sizes)
    var given = [samples.outputName: outputs.reshaped(shape)]
    for name in samples.lossWhole { given[name] = try whole(name) }
    return given
  }

  private static func stateName(_ state: String, _ network: Int) -> String { "loss.\(state).\(network)" }

  /// Declares the loss's state by sample for every network. Its shape is that of what the loss writes.
  func declareLossState() throws(TemperError) {
    let states = lossInstance.method.state
    guard !states.isEmpty else { return }
    for (index, network) in training.networks.enumerated() {
      let outputs = Expression.input("outputs", Shape([count] + network.model.output.sizes))
      let loss = try lossInstance.build(try lossInputs(outputs, [:]))
      for state in states {
        guard let change = loss.updates.first(where: { $0.name == state.name }) else {
          throw TemperError(
            .internalFault, "The state \"\(state.name)\" is declared but never set.", origin: lossInstance.method.name)
        }
        try training.keepRows(
          StepGraph.stateName(state.name, index), Shape(Array(change.value.shape.sizes.dropFirst())),
          initial: state.initialValue(lossInstance.arguments))
      }
    }
  }
}
