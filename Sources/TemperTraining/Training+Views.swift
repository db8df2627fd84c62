import TemperCore
import TemperGraph
import TemperNetworks

/// What hooks see of networks from outside a step.
extension Training {
  /// A network's outputs and what its last layer takes (the features), each (N, …), as it is now, in inference mode: for all
  /// samples, for those of some ids, or for `x`. With `noise` every number of x first gets a normal one of this
  /// deviation; calls between the same two steps draw alike for one `draw`, and otherwise for others.
  package func view(
    _ network: Int = 0, of x: Tensor? = nil, ids: [Int]? = nil, noise: Double = 0, draw: UInt32 = 0
  ) throws(TemperError) -> (outputs: Tensor, features: Tensor) {
    let model = networks[network].model
    let mask = x == nil ? samples.rows["mask"]?.tensor : nil
    let key = "\(network) \(noise) \(draw)"
    let plans = views[key] ?? Training.plans(model, noise, draw, workers)
    views[key] = plans
    try model.refreshNoise()
    let count = x?.shape[0] ?? ids?.count ?? sampleCount
    let outputs = try Tensor(zeros: Shape([count] + model.output.sizes), model.dtype)
    let features = try Tensor(zeros: Shape([count] + Training.featureShape(model).sizes), model.dtype)
    var given = model.noise
    given["view clock"] = clock
    for variable in model.trained + model.kept { given[variable.name] = variable.tensor }
    for start in stride(from: 0, to: count, by: 256) {
      let range = start..<min(start + 256, count)
      setClock(part: start / 256)
      if let ids {
        given["x"] = try inputs(Array(ids[range]))
        given["mask"] = try mask?.rows(Array(ids[range]))
      } else {
        if let x { given["x"] = try x.slice(range) } else { given["x"] = try inputs(range) }
        given["mask"] = try mask?.slice(range)
      }
      try plans.run(range.count, given, [0: try outputs.slice(range), 1: try features.slice(range)])
    }
    return (outputs, features)
  }

  /// Of what the last layer takes, for one sample.
  package static func featureShape(_ model: Model) -> Shape {
    Shape(Array(seen(model, 1, 0, 0).features.shape.sizes.dropFirst()))
  }

  private static func seen(
    _ model: Model, _ count: Int, _ noise: Double, _ draw: UInt32
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

  private static func plans(_ model: Model, _ noise: Double, _ draw: UInt32, _ workers: Workers) -> TilePlans<Int> {
    TilePlans(model.dtype, workers) { count in
      let seen = seen(model, count, noise, draw)
      return [Output(seen.outputs), Output(seen.features)]
    }
  }
}

extension Expression {
  /// Standard normal numbers, by Box and Muller, from the streams `stream` and the next one; `clock` as of `uniform`.
  static func normal(_ shape: Shape, clock: Expression, stream: UInt32) -> Expression {
    let radius = sqrt(-2 * log(1 - .uniform(shape, clock: clock, stream: stream)))
    return radius * cos(2 * Double.pi * .uniform(shape, clock: clock, stream: stream + 1))
  }
}
