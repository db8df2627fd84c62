import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// What a procedure's hooks see of a run: the data, the networks, where the run stands, and what is kept.
package final class Training {
  package let networks: [Network]
  /// Key and step of the random numbers inside a plan.
  let clock: Tensor
  package let samples: Samples
  package let loss: LossInstance
  package let workers: Workers
  package internal(set) var position = Position()
  /// Before the names of what is kept: each of several procedures has names of its own.
  var scope = ""
  /// Of the step after so many others.
  let learningRate: (Int) -> Double
  /// Plans of `view`, by what they are for.
  var views: [String: TilePlans<Int>] = [:]
  private let root: Random
  private let clockKey: UInt64
  /// In the order of declaration.
  private(set) var kept: [Kept] = []

  /// An array that checkpoints hold.
  struct Kept {
    let name: String
    let tensor: Tensor
    /// Whether the first axis is the samples.
    let isByRow: Bool
  }

  init(
    networks: [Network], samples: Samples, loss: LossInstance, seed: UInt64, workers: Workers,
    learningRate: @escaping (Int) -> Double
  ) throws(TemperError) {
    (self.networks, self.samples, self.loss, self.workers) = (networks, samples, loss, workers)
    self.learningRate = learningRate
    clock = try Tensor(zeros: [4], .int32)
    root = Random(seed: seed)
    clockKey = root.stream("step").key
  }

  package var sampleCount: Int { samples.count }

  /// Independent random numbers for a purpose; split them further by epoch or step, so that a resume needs no state.
  package func random(_ stream: String) -> Random { root.stream(stream) }

  /// Rows of "targets" as the data came: class ids, or probabilities.
  package func targets() throws(TemperError) -> Samples.Field {
    guard let targets = samples.rows["targets"] else {
      throw TemperError(.invalidArgument, "The samples have no targets.")
    }
    return targets
  }

  /// The class ids of all samples; an error where the data brought something else.
  package func classIds(for procedure: any Procedure) throws(TemperError) -> [Int] {
    let targets = try targets()
    guard targets.kind == .index, targets.tensor.count == sampleCount else {
      throw TemperError(
        .invalidArgument,
        "The procedure \(procedure.name) needs one class id for each sample as targets; other targets came.")
    }
    return try targets.tensor.array(of: Int32.self).map(Int.init)
  }

  /// The loss of each sample as a network is now, in inference mode, (N,).
  package func losses(_ network: Int = 0) throws(TemperError) -> [Double] {
    try losses(of: try outputs(network))
  }

  /// The loss of each sample with these outputs.
  package func losses(of outputs: Tensor) throws(TemperError) -> [Double] {
    var given = [samples.outputName: try outputs.reshaped(Shape([sampleCount] + samples.outputRow.sizes))]
    for name in samples.lossRows {
      guard let field = samples.rows[name] else { continue }
      let isColumn = field.tensor.shape == [sampleCount, 1] && outputs.shape != [sampleCount, 1]
      given[name] = isColumn ? try field.tensor.reshaped([sampleCount]) : field.tensor
    }
    for name in samples.lossWhole { given[name] = samples.whole[name]?.tensor }
    return try loss.evaluate(given).array(of: Double.self)
  }

  /// Of x, (N, …).
  package var inputShape: Shape { samples.x.shape }

  /// x of some samples, as the models take it; read where it is not in memory.
  package func inputs(_ range: Range<Int>) throws(TemperError) -> Tensor {
    if case .array(let x) = samples.x { return try x.slice(range) }
    return try inputs(Array(range))
  }

  package func inputs(_ ids: [Int]) throws(TemperError) -> Tensor {
    switch samples.x {
    case .array(let x): return try x.rows(ids)
    case .rows(let rows):
      let part = try Tensor(zeros: Shape([ids.count] + rows.shape.sizes.dropFirst()), rows.dtype)
      try rows.read(ids.map(Int32.init), from: 0, into: part)
      return part
    }
  }

  /// A network's outputs for all samples as they are now, in inference mode, (N, …).
  package func outputs(_ network: Int = 0) throws(TemperError) -> Tensor {
    let (model, mask) = (networks[network].model, samples.rows["mask"]?.tensor)
    switch samples.x {
    case .array(let x): return try model.predict(x, mask: mask, workers: workers)
    case .rows(let rows):
      let outputs = try Tensor(zeros: Shape([sampleCount] + model.output.sizes), model.dtype)
      try rows.forEachPart(of: Model.predictionBatch) { (range, part) throws(TemperError) in
        try model.predict(part, mask: try mask?.slice(range), into: try outputs.slice(range), workers: workers)
      }
      return outputs
    }
  }

  /// Declares an array with a row of `shape` for each sample, of the working type.
  @discardableResult
  package func keepRows(_ name: String, _ shape: Shape = [1], initial: Double = 0) throws(TemperError) -> Tensor {
    try declare(name, Shape([sampleCount] + shape.sizes), initial, isByRow: true)
  }

  /// Declares an array of the method as a whole, of the working type.
  @discardableResult
  package func keep(_ name: String, _ shape: Shape = [], initial: Double = 0) throws(TemperError) -> Tensor {
    try declare(name, shape, initial, isByRow: false)
  }

  /// Random numbers inside the plan are a function of the seed, the step, and the part of the samples where hooks look at
  /// all of them.
  func setClock(part: Int = 0) { clock.setWords(clockKey, UInt64(position.steps) | UInt64(part) << 40) }

  private func declare(
    _ name: String, _ shape: Shape, _ initial: Double, isByRow: Bool
  ) throws(TemperError) -> Tensor {
    let name = scope + name
    guard !kept.contains(where: { $0.name == name }) else {
      throw TemperError(.internalFault, "\"\(name)\" is declared twice.")
    }
    let tensor = try Tensor(zeros: shape, networks[0].type)
    if initial != 0 { try tensor.fill(initial) }
    kept.append(Kept(name: name, tensor: tensor, isByRow: isByRow))
    return tensor
  }

  /// An array declared by `keep` or `keepRows`; hooks may write into it.
  package func kept(_ name: String) throws(TemperError) -> Tensor { try find(name).tensor }

  func find(_ name: String) throws(TemperError) -> Kept {
    guard let found = kept.first(where: { $0.name == scope + name }) ?? kept.first(where: { $0.name == name }) else {
      throw TemperError(.internalFault, "Nothing is kept under the name \"\(name)\".")
    }
    return found
  }
}
