import TemperCatalogue
import TemperCore
import TemperGraph

/// One training step for batches of one size: a plan with all its arrays bound, so that a step neither looks anything
/// up nor allocates.
final class Step {
  let count: Int
  let phase: Int
  /// The loss's arguments that it was made with, and those that move but are built in.
  let arguments: Arguments
  let builtIn: Set<String>
  /// Networks that the objective depends on.
  let networks: [Network]
  private let execution: Execution
  private let gathers: [Rows]
  private let reads: [(rows: CheckedRows, batch: Tensor)]
  private let numbers: [Number]
  private let objective: Tensor
  /// Not a tuple: calling a function out of an array of tuples allocates.
  private struct Number {
    let tensor: Tensor
    let value: (Position) -> Double
  }
  /// New values wait here until the step has proved finite.
  private let scatters: [Rows]
  private let copies: [(from: Tensor, to: Tensor)]
  /// What waits, and room for what waited after the first of several runs on one batch.
  private let pending: [Tensor]
  private var first: [Tensor] = []

  init(_ graph: StepGraph, objective: Expression, workers: Workers) throws(TemperError) {
    if let error = objective.error { throw error }
    guard objective.shape.count == 1 else {
      throw TemperError(.internalFault, "An objective is one number; its shape is \(objective.shape).")
    }
    (count, phase, arguments, builtIn) = (graph.count, graph.phase, graph.arguments, graph.builtIn)
    let training = graph.training
    let type = training.networks[0].type
    self.objective = try Tensor(zeros: [], type)

    let reached = objective.trainableInputs
    var outputs = [Output(objective.reshaped([]))]
    var targets = [self.objective]
    var moved: [Network] = []
    for (index, network) in training.networks.enumerated() {
      let parameters = graph.parameters(index)
      guard parameters.contains(where: { reached.contains(ObjectIdentifier($0.node)) }) else { continue }
      moved.append(network)
      let gradients = try Differentiate.gradients(of: objective, withRespectTo: parameters)
      outputs += gradients.map { Output($0) }
      targets += network.gradients
    }
    guard !moved.isEmpty else {
      throw TemperError(.invalidArgument, "The objective depends on no parameter, so there is nothing to train.")
    }
    networks = moved
    var scatters: [Rows] = []
    var copies: [(from: Tensor, to: Tensor)] = []
    for change in graph.changes {
      let pending = try Tensor(zeros: change.value.shape, type)
      outputs.append(Output(change.value))
      targets.append(pending)
      switch change.target {
      case .rows(let table): scatters.append(Rows(table: table, batch: pending))
      case .whole(let tensor): copies.append((pending, tensor))
      case .number, .source: break
      }
    }
    (self.scatters, self.copies) = (scatters, copies)
    pending = scatters.map(\.batch) + copies.map(\.from)

    execution = try Execution(try Plan(outputs, type: type), workers: workers)
    for (index, target) in targets.enumerated() { try execution.bind(output: index, to: target) }
    var gathers: [Rows] = []
    var reads: [(rows: CheckedRows, batch: Tensor)] = []
    var numbers: [Number] = []
    for input in execution.plan.inputs {
      let bound: Tensor
      switch graph.sources[input.name] {
      case .rows(let table):
        bound = try Tensor(zeros: input.shape, table.dtype)
        gathers.append(Rows(table: table, batch: bound))
      case .source(let rows):
        bound = try Tensor(zeros: input.shape, rows.dtype)
        reads.append((rows, bound))
      case .whole(let tensor): bound = tensor
      case .number(let value):
        bound = try Tensor(zeros: [], type)
        numbers.append(Number(tensor: bound, value: value))
      case nil:
        throw TemperError(
          .internalFault, "The objective reads \"\(input.name)\", which did not come from the step's graph.")
      }
      try execution.bind(input.name, to: bound)
    }
    (self.gathers, self.reads, self.numbers) = (gathers, reads, numbers)
  }

  /// Runs the plan on the samples order[start ..< start + count]: gradients are written, all else waits for `commit`.
  /// The objective's value.
  func run(_ order: [Int32], from start: Int, _ position: Position, _ workers: Workers) throws(TemperError) -> Double {
    for gather in gathers { gather.gather(order, from: start, workers) }
    for read in reads { try read.rows.read(order, from: start, into: read.batch) }
    for number in numbers { number.tensor.set(number.value(position)) }
    try execution.run()
    return objective.number
  }

  /// Remembers what waits: another run on the same batch, at other parameters, is to change only gradients.
  func keepPending() throws(TemperError) {
    for (index, tensor) in pending.enumerated() {
      if first.count <= index { first.append(try Tensor(zeros: tensor.shape, tensor.dtype)) }
      first[index].copyBytes(from: tensor)
    }
  }

  func restorePending() {
    for (tensor, copy) in zip(pending, first) { tensor.copyBytes(from: copy) }
  }

  /// Writes running statistics and what is kept.
  func commit(_ order: [Int32], from start: Int) {
    for scatter in scatters { scatter.scatter(order, from: start) }
    for copy in copies { copy.to.copyBytes(from: copy.from) }
  }
}

extension Expression {
  /// Inputs that a gradient can reach.
  fileprivate var trainableInputs: Set<ObjectIdentifier> {
    var inputs = Set<ObjectIdentifier>()
    var seen = Set<ObjectIdentifier>()
    var stack = [node]
    while let next = stack.popLast() {
      guard seen.insert(ObjectIdentifier(next)).inserted else { continue }
      switch next.operation {
      case .stopGradient: continue
      case .input: inputs.insert(ObjectIdentifier(next))
      default: stack += next.inputs
      }
    }
    return inputs
  }
}
