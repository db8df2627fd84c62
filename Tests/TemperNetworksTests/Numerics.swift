import Glibc
import TemperCore
import TemperGraph
import Testing

@testable import TemperNetworks

let workers = Workers(count: 2)

/// Numbers in (-1, 1) that depend on the name only.
func numbers(_ count: Int, _ name: String) -> [Double] {
  var random = Random(seed: 77, stream: name)
  return (0..<count).map { _ in random.uniform() * 2 - 1 }
}

func expectClose(
  _ a: [Double], _ b: [Double], _ tolerance: Double = 1e-12, _ what: String = "",
  sourceLocation: SourceLocation = #_sourceLocation
) {
  #expect(a.count == b.count, "\(what)", sourceLocation: sourceLocation)
  for (index, (x, y)) in zip(a, b).enumerated() {
    let close = x == y || abs(x - y) <= tolerance * (1 + max(abs(x), abs(y)))
    #expect(close, "\(what)[\(index)]: \(x) against \(y)", sourceLocation: sourceLocation)
    if !close { return }
  }
}

/// A model's pass as a plan: its output, new buffers, and, with a loss on it, gradients.
struct Run {
  let model: Model
  let execution: Execution
  let outputs: [String: Int]

  /// `loss` of the output is differentiated with respect to the parameters and, for real inputs, x.
  init(
    _ model: Model, batch: Int, mode: Pass.Mode = .inference, clock: Bool = false, mask: Bool = false,
    loss: ((Expression) -> Expression)? = nil
  ) throws {
    self.model = model
    let x = Expression.input("x", Shape([batch] + model.input.shape.sizes), model.input.kind)
    let pass = model.pass(
      mode, clock: clock ? .input("clock", [4], .index) : nil,
      mask: mask ? .input("mask", [batch, model.input.shape[0]]) : nil)
    let y = model.forward(x, pass)
    var named: [(String, Expression)] = [("y", y)]
    named += pass.updates.map { ($0.name, $0.value) }
    if let loss {
      let value = pass.penalties.reduce(loss(y)) { $0 + $1 }
      let sources = pass.parameters + (model.input.kind == .real ? [x] : [])
      let gradients = try Differentiate.gradients(of: value, withRespectTo: sources)
      named.append(("loss", value))
      for (parameter, gradient) in zip(model.trained, gradients) { named.append(("d " + parameter.name, gradient)) }
      if model.input.kind == .real { named.append(("d x", gradients.last!)) }
    }
    execution = try Execution(try Plan(named.map { Output($0.1) }, type: model.dtype), workers: workers)
    outputs = Dictionary(uniqueKeysWithValues: named.enumerated().map { ($1.0, $0) })
    try model.bind(to: execution)
    if clock, reads("clock") { try execution.bind("clock", to: try Tensor([1, 2, 3, 4] as [Int32])) }
  }

  func reads(_ name: String) -> Bool { execution.plan.inputs.contains { $0.name == name } }

  func bind(_ name: String, _ tensor: Tensor) throws { if reads(name) { try execution.bind(name, to: tensor) } }

  func values(_ name: String) throws -> [Double] {
    try execution.output(try #require(outputs[name], "\(name)")).array(of: Double.self)
  }
}

/// Every parameter and buffer with fixed numbers of its name: nothing stays at a start like 0 or 1.
func fill(_ model: Model) throws {
  for variable in model.parameters { try set(model, variable.name, numbers(variable.shape.count, variable.name)) }
  for variable in model.buffers {
    try set(model, variable.name, numbers(variable.shape.count, variable.name).map { $0 + 1.5 })
  }
}

func set(_ model: Model, _ name: String, _ values: [Double]) throws {
  let variable = try #require(model.variable(name))
  try variable.tensor!.assign(from: try Tensor(values, shape: variable.shape))
}

func value(_ model: Model, _ name: String) throws -> [Double] {
  try #require(model.variable(name), "\(name)").tensor!.array(of: Double.self)
}

/// The output for a batch of fixed numbers, parameters filled by name.
func output(
  _ text: String, input: Shape, batch: Int = 3, mode: Pass.Mode = .inference
) throws -> (model: Model, x: [Double], y: [Double], run: Run) {
  let model = try makeModel(text, input: input)
  try fill(model)
  let shape = Shape([batch] + input.sizes)
  let x = numbers(shape.count, "x")
  let run = try Run(model, batch: batch, mode: mode)
  try run.bind("x", try Tensor(x, shape: shape))
  try run.execution.run()
  return (model, x, try run.values("y"), run)
}
