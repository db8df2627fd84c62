import TemperCore
import TemperGraph
import TemperNetworks

/// What hooks see of networks from outside a step.
extension Training {
  /// Samples in a plan.
  private static let viewBatch = 256

  /// A network's outputs and what its last layer takes (the features), each (N, …), as it is now, in inference mode:
  /// for all samples, or for `x`.
  package func view(
    _ network: Int = 0, of x: Tensor? = nil
  ) throws(TemperError) -> (outputs: Tensor, features: Tensor) {
    let model = networks[network].model
    let mask = x == nil ? samples.rows["mask"]?.tensor : nil
    let plans = plans("\(network)") { count in
      let seen = Training.seen(model, count)
      return [Output(seen.outputs), Output(seen.features)]
    }
    let count = x?.shape[0] ?? sampleCount
    let outputs = try Tensor(zeros: Shape([count] + model.output.sizes), model.dtype)
    let features = try Tensor(zeros: Shape([count] + Training.featureShape(model).sizes), model.dtype)
    var given = try viewed(model)
    for start in stride(from: 0, to: count, by: Training.viewBatch) {
      let range = start..<min(start + Training.viewBatch, count)
      setClock(part: start / Training.viewBatch)
      if let x { given["x"] = try x.slice(range) } else { given["x"] = try inputs(range) }
      given["mask"] = try mask?.slice(range)
      try plans.run(range.count, given, [0: try outputs.slice(range), 1: try features.slice(range)])
    }
    return (outputs, features)
  }

  /// A network's outputs as `view` has them for the samples of some ids, (ids, …), whose x first gets a normal number
  /// of this deviation everywhere; calls between the same two steps draw alike for one `draw`, and otherwise for
  /// others.
  package func outputs(
    _ network: Int = 0, ids: [Int], noise: Double, draw: UInt32 = 0
  ) throws(TemperError) -> Tensor {
    let model = networks[network].model
    let mask = samples.rows["mask"]?.tensor
    let plans = plans("\(network) \(noise) \(draw)") { [Output(Training.seen(model, $0, noise, draw).outputs)] }
    // Their number changes from call to call, and a plan would be made for each: the last batch is filled up.
    let batch = min(Training.viewBatch, sampleCount)
    let filled = ids + [Int](repeating: ids.last ?? 0, count: (batch - ids.count % batch) % batch)
    let outputs = try Tensor(zeros: Shape([filled.count] + model.output.sizes), model.dtype)
    var given = try viewed(model)
    for start in stride(from: 0, to: filled.count, by: batch) {
      let part = Array(filled[start..<start + batch])
      setClock(part: start / batch)
      given["x"] = try inputs(part)
      given["mask"] = try mask?.rows(part)
      try plans.run(batch, given, [0: try outputs.slice(start..<start + batch)])
    }
    return try outputs.slice(0..<ids.count)
  }

  private func plans(_ key: String, _ make: @escaping (Int) -> [Output]) -> TilePlans<Int> {
    let plans = views[key] ?? TilePlans(networks[0].type, workers, make)
    views[key] = plans
    return plans
  }

  private func viewed(_ model: Model) throws(TemperError) -> [String: Tensor] {
    try model.refreshNoise()
    var given = model.noise
    given["view clock"] = clock
    for variable in model.trained + model.kept { given[variable.name] = variable.tensor }
    return given
  }

  /// Of what the last layer takes, for one sample.
  package static func featureShape(_ model: Model) -> Shape {
    Shape(Array(seen(model, 1).features.shape.sizes.dropFirst()))
  }

  private static func seen(
    _ model: Model, _ count: Int, _ noise: Double = 0, _ draw: UInt32 = 0
  ) -> (outputs: Expression, features: Expression) {
    var x = Expression.input("x", Shape([count] + model.input.shape.sizes), model.input.kind)
    if noise > 0 {
      // Steps draw from the streams at both ends.
      let clock = Expression.input("view clock", [4], .index)
      x = x + noise * .normal(x.shape, clock: clock, stream: 1 << 31 + 2 * draw)
    }
    let mask = model.needsMask ? Expression.input("mask", [count, model.input.shape[0]]) : nil
    let pass = model.pass(.inference, mask: mask)
    let outputs = model.forward(x, pass)
    let last = model.description.layers.count - 1
    return (outputs, last > 0 ? pass.outputs["\(last - 1)"] ?? x : x)
  }
}

extension Expression {
  /// Standard normal numbers, by Box and Muller, from the streams `stream` and the next one; `clock` as of `uniform`.
  static func normal(_ shape: Shape, clock: Expression, stream: UInt32) -> Expression {
    let radius = sqrt(-2 * log(1 - .uniform(shape, clock: clock, stream: stream)))
    return radius * cos(2 * Double.pi * .uniform(shape, clock: clock, stream: stream + 1))
  }
}
