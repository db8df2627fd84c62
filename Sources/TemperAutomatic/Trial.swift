import TemperCatalogue
import TemperCore
import TemperNetworks
import TemperTraining

/// An approach trained so often that every sample has outputs of a network that did not see it.
struct Trial {
  let approach: Approach
  /// In the order of `epochs`: outputs (N, C), or standardized numbers (N, 1), row by row.
  var outputs: [[Double]]
  /// After which epochs the outputs were taken.
  let epochs: [Int]

  var entries: [Contest.Entry] {
    zip(epochs, outputs).map { Contest.Entry(approach: approach, epochs: $0, outputs: $1) }
  }
}

/// Trains approaches on parts of one problem.
struct Trials {
  let problem: Problem
  let options: RobustOptions
  let catalogue: Catalogue
  let workers: Workers
  /// Of each feature.
  let standard: [(mean: Double, scale: Double)]
  /// Of a regression's numbers.
  let target: (mean: Double, scale: Double)
  let folds: [Int]
  let foldCount: Int
  let epochs: Int
  let batchSize: Int
  /// Of an epoch.
  let steps: Int

  /// isBalanced: every class counts alike, in means and scales of the features too, which are else those of the most
  /// common class.
  init(
    _ problem: Problem, isBalanced: Bool, _ options: RobustOptions, _ catalogue: Catalogue, _ workers: Workers
  ) {
    (self.problem, self.options, self.catalogue, self.workers) = (problem, options, catalogue, workers)
    standard = Trials.standard(problem, isBalanced: isBalanced)
    if case .numbers(let values) = problem.targets {
      let centre = Robust.median(values)
      let deviation = Robust.deviation(values, around: centre)
      // Numbers far off move neither; where most numbers are one number there is no such deviation.
      target = deviation > 0 ? (centre, deviation) : Robust.meanAndScale(values)
    } else {
      target = (0, 1)
    }
    // With a class in every fold; a sample alone in its class is in one.
    let smallest = problem.classCounts.filter { $0 > 0 }.min() ?? problem.count
    foldCount = min(options.folds, max(smallest, 2), problem.count)
    folds = problem.folds(foldCount, Random(seed: options.seed).stream("folds"))
    batchSize = min(options.batchSize ?? min(128, max(16, problem.count / 10)), problem.count)
    steps = (problem.count + batchSize - 1) / batchSize
    epochs = options.epochs ?? max(10, (1_500 + steps - 1) / steps)
  }

  /// Mean and scale of each feature. Features of one unit, such as pixels and counts, which have the same smallest value and
  /// not very different spreads, have no smaller scale than all of them together: what hardly varies there hardly counts.
  private static func standard(_ problem: Problem, isBalanced: Bool) -> [(mean: Double, scale: Double)] {
    let parts = isBalanced ? problem.byClass.filter { !$0.isEmpty } : [Array(0..<problem.count)]
    let columns = (0..<problem.width).map { feature in
      stride(from: feature, to: problem.features.count, by: problem.width).map { Double(problem.features[$0]) }
    }
    let own = columns.map { column in
      Robust.meanAndScale(parts.map { part in Robust.moments(part.map { column[$0] }) })
    }
    guard Set(columns.map { $0.min() ?? 0 }).count == 1 else { return own }
    let spreads = own.indices.map { feature in isConstant(columns[feature]) ? 0 : own[feature].scale }
    let varying = spreads.filter { $0 > 0 }
    guard varying.count > 1, (varying.max() ?? 0) <= 4 * Robust.median(varying) else { return own }
    let common = (spreads.reduce(0) { $0 + $1 * $1 } / Double(spreads.count)).squareRoot()
    return zip(own, spreads).map { ($0.mean, max($1, common)) }
  }

  private static func isConstant(_ values: [Double]) -> Bool { values.allSatisfy { $0 == values[0] } }

  func ends(_ approach: Approach) -> [Int] { Set(approach.parts.map { max(1, epochs / $0) }).sorted() }

  var outputSize: Int { max(problem.classCounts.count, 1) }

  /// An approach tried fold by fold, and the samples that it has outputs for: all of them, or those of half the folds if
  /// it is hopeless then.
  func run(
    _ approach: Approach, isHopeless: (Trial, [Int]) -> Bool, stop: (Double) throws(TemperError) -> Bool
  ) throws(TemperError) -> (trial: Trial, samples: [Int]) {
    let (size, ends) = (outputSize, ends(approach))
    var trial = Trial(
      approach: approach,
      outputs: [[Double]](repeating: [Double](repeating: 0, count: problem.count * size), count: ends.count),
      epochs: ends)
    for fold in 0..<foldCount {
      let held = (0..<problem.count).filter { folds[$0] == fold }
      let rows = (0..<problem.count).filter { folds[$0] != fold }
      guard !held.isEmpty, !rows.isEmpty else { continue }
      let x = try problem.features(held)
      _ = try train(approach, rows, ends: ends) { (index, model) throws(TemperError) in
        let outputs = try model.predict(x, workers: workers).array(of: Double.self)
        for (place, sample) in held.enumerated() {
          for j in 0..<size { trial.outputs[index][sample * size + j] = outputs[place * size + j] }
        }
      } stop: { (done) throws(TemperError) in
        try stop((Double(fold) + done) / Double(foldCount))
      }
      if fold + 1 == foldCount / 2 {
        let seen = (0..<problem.count).filter { folds[$0] <= fold }
        if isHopeless(trial, seen) { return (trial, seen) }
      }
    }
    return (trial, Array(0..<problem.count))
  }

  /// A model trained on some samples, shown after the epochs in `ends`, in their order.
  func train(
    _ approach: Approach, _ rows: [Int], ends: [Int], visit: (Int, Model) throws(TemperError) -> Void = { _, _ in },
    stop: (Double) throws(TemperError) -> Bool
  ) throws(TemperError) -> Model {
    let model = try Model(
      Description(
        parsing: "[{\"standardize\": 5}, {\"dense\": \(options.hidden)}, \"relu\", {\"dense\": \(outputSize)}]"),
      input: [problem.width], seed: options.seed, catalogue: catalogue)
    try write(standard.map(\.mean), to: "0.mean", of: model)
    try write(standard.map(\.scale), to: "0.scale", of: model)

    let method = try catalogue.find(approach.loss, kinds: [.loss])
    let loss = try LossInstance(method, Arguments([], for: method.parameters), workers: workers)
    // What each step takes of the weights is so much that an epoch takes no more of them where it has many steps.
    let optimizer = try catalogue.find("adamw", kinds: [.optimizer])
    var settings = TrainerOptions()
    (settings.batchSize, settings.seed) = (min(batchSize, rows.count), options.seed)
    let trainer = try Trainer(
      [model], loss: loss, optimizer: optimizer,
      Arguments(
        [("learning_rate", .real(0.003)), ("weight_decay", .real(approach.weightDecay * min(1, 12 / Double(steps))))],
        for: optimizer.parameters),
      options: settings, workers: workers)

    var data = Dataset(x: try problem.features(rows), y: try targets(rows, method))
    if method.inputs.contains(where: { $0.name == "class_priors" && !$0.isOptional }) {
      data.inputs["class_priors"] = try priors(rows)
    }
    if let transition = approach.transition {
      data.inputs["transition"] = try Tensor(transition, shape: [outputSize, outputSize])
    }
    for (index, end) in ends.enumerated() {
      let history = try withoutActuallyEscaping(stop) { stop throws(TemperError) in
        try trainer.fit(
          data, epochs: end,
          callbacks: Callbacks(epoch: { record throws(TemperError) in
            try stop(Double(record.epoch) / Double(ends.last ?? 1)) ? .stop : .goOn
          }))
      }
      if history.ending == .cancelled { throw TemperError(.cancelled, "The progress callback stopped the work.") }
      try visit(index, model)
    }
    return model
  }

  /// As the loss takes them.
  private func targets(_ rows: [Int], _ loss: Method) throws(TemperError) -> Tensor {
    switch problem.targets {
    case .numbers(let values): return try Tensor(rows.map { Float((values[$0] - target.mean) / target.scale) })
    case .classes(let ids, let classes):
      let takesIds = loss.inputs.first { $0.name == "targets" }?.forms.contains {
        if case .index = $0.element { true } else { false }
      }
      if takesIds == true { return try Tensor(rows.map { ids[$0] }) }
      var oneHot = [Float](repeating: 0, count: rows.count * classes)
      for (place, row) in rows.enumerated() { oneHot[place * classes + Int(ids[row])] = 1 }
      return try Tensor(oneHot, shape: [rows.count, classes])
    }
  }

  /// Shares of the classes, none of them 0.
  private func priors(_ rows: [Int]) throws(TemperError) -> Tensor {
    guard case .classes(let ids, let classes) = problem.targets else { return try Tensor([Float(1)]) }
    var counts = [Float](repeating: 0, count: classes)
    for row in rows { counts[Int(ids[row])] += 1 }
    let sum = counts.reduce(0) { $0 + max($1, 0.5) }
    return try Tensor(counts.map { max($0, 0.5) / sum })
  }

  /// The last layer's outputs, times `factor` and plus `shift`.
  func rescale(_ model: Model, by factor: Double, plus shift: Double = 0) throws(TemperError) {
    for (name, shift) in [("3.weight", 0), ("3.bias", shift)] {
      guard let tensor = model.variable(name)?.tensor else { continue }
      try write(try tensor.array(of: Double.self).map { $0 * factor + shift }, to: name, of: model)
    }
  }

  private func write(_ values: [Double], to name: String, of model: Model) throws(TemperError) {
    guard let tensor = model.variable(name)?.tensor else {
      throw TemperError(.internalFault, "The model has no \"\(name)\".")
    }
    try tensor.assign(from: try Tensor(values, shape: tensor.shape))
  }
}
