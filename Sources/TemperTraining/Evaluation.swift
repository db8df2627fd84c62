import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// Mean loss and accuracy of a model on one set of samples, in batches, in inference mode. State by sample has its
/// initial value: these samples were never trained on.
final class Evaluation {
  private let samples: Samples
  private let model: Model
  private let whole: Batch
  private let rest: Batch?
  let hasAccuracy: Bool

  /// One batch size: its plan and where the results go.
  private struct Batch {
    let count: Int
    let execution: Execution
    let rows: [(name: String, tensor: Tensor)]
    /// Where x is read to, if it is not in memory.
    let x: Tensor?
    /// Sum of values, number of samples that count, and right answers if there are classes.
    let results: [Tensor]
  }

  /// Samples in a plan, at least.
  private static let batchSize = 256

  /// The first network of a trainer on `data`, which `role` names in errors.
  init(_ trainer: Trainer, _ data: Dataset, role: String) throws(TemperError) {
    let (model, loss) = (trainer.networks[0].model, trainer.loss)
    let samples = try Samples(
      data, role: role, model: model, loss: loss, procedure: nil,
      allowsNonFinite: trainer.options.allowsNonFiniteData, workers: trainer.workers)
    let size = min(max(trainer.options.batchSize, Evaluation.batchSize), samples.count)
    let remainder = samples.count % size
    (self.samples, self.model) = (samples, model)
    whole = try Evaluation.batch(size, model, loss, samples, trainer.workers)
    rest = remainder == 0 ? nil : try Evaluation.batch(remainder, model, loss, samples, trainer.workers)
    hasAccuracy = whole.results.count == 3
  }

  private static func batch(
    _ count: Int, _ model: Model, _ loss: LossInstance, _ samples: Samples, _ workers: Workers
  ) throws(TemperError) -> Batch {
    var rows: [String: Expression] = [:]
    for (name, array) in samples.rows {
      rows[name] = .input(name, Shape([count] + array.tensor.shape.sizes.dropFirst()), array.kind)
    }
    let x = Expression.input("x", Shape([count] + samples.x.shape.sizes.dropFirst()), samples.xKind)
    let output = model.forward(x, model.pass(.inference, mask: rows["mask"]))
      .reshaped(Shape([count] + samples.outputRow.sizes))
    var given = [samples.outputName: output]
    for name in samples.lossRows { given[name] = rows[name] }
    for name in samples.lossWhole {
      guard let array = samples.whole[name] else { continue }
      given[name] = .input(name, array.tensor.shape, array.kind)
    }
    let value = try loss.build(given)
    let counted = value.counted?.sumAll() ?? .constant(Double(count))
    let sum = loss.isBatchLoss ? value.reduced(.mean) * counted : value.values.sumAll()
    var results = [sum, counted]
    if let right = Evaluation.right(output, rows["targets"], value.counted, loss) { results.append(right) }

    let execution = try Execution(try Plan(results.map { Output($0) }, type: model.dtype), workers: workers)
    try model.bind(to: execution)
    let read = Set(execution.plan.inputs.map { $0.name })
    for (name, array) in samples.whole where read.contains(name) { try execution.bind(name, to: array.tensor) }
    var targets: [Tensor] = []
    for index in results.indices {
      targets.append(try Tensor(zeros: [], model.dtype))
      try execution.bind(output: index, to: targets[index])
    }
    var tables = samples.rows.filter { read.contains($0.key) }.map { (name: $0.key, tensor: $0.value.tensor) }
    var place: Tensor?
    if read.contains("x") {
      switch samples.x {
      case .array(let tensor): tables.append(("x", tensor))
      case .rows(let rows):
        let batch = try Tensor(zeros: Shape([count] + rows.shape.sizes.dropFirst()), rows.dtype)
        try execution.bind("x", to: batch)
        place = batch
      }
    }
    return Batch(count: count, execution: execution, rows: tables, x: place, results: targets)
  }

  /// Samples whose largest score is at the target's class, or nil where the loss knows no classes.
  private static func right(
    _ output: Expression, _ targets: Expression?, _ counted: Expression?, _ loss: LossInstance
  ) -> Expression? {
    guard let targets, output.shape.rank == 2, loss.inputs[0].name == "logits" else { return nil }
    let right: Expression
    if targets.kind == .index, targets.shape == [output.shape[0], 1] {
      right = output.argmax() .== targets
    } else if targets.kind == .real, targets.shape == output.shape, output.shape.last > 1,
      loss.inputs.contains(where: { $0.name == "targets" && $0.forms.contains { $0.shape == ["N", "C"] } })
    {
      right = output.argmax() .== targets.argmax()
    } else {
      return nil
    }
    return (counted.map { right * $0 } ?? right).sumAll()
  }

  func run() throws(TemperError) -> Measurement {
    var sums = [Double](repeating: 0, count: 3)
    var start = 0
    while start < samples.count {
      guard let batch = samples.count - start >= whole.count ? whole : rest else { break }
      for row in batch.rows {
        try batch.execution.bind(row.name, to: try row.tensor.slice(start..<(start + batch.count)))
      }
      if case .rows(let rows) = samples.x, let x = batch.x {
        try rows.read((start..<start + batch.count).map(Int32.init), from: 0, into: x)
      }
      try model.refreshNoise()
      try batch.execution.run()
      for (index, result) in batch.results.enumerated() { sums[index] += result.number }
      start += batch.count
    }
    return Measurement(
      loss: sums[0] / max(sums[1], 1), accuracy: hasAccuracy ? sums[2] / max(sums[1], 1) : nil)
  }
}
