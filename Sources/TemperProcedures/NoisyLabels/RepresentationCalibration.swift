import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// For labels that are wrong and classes that are rare: features learned without labels have class moments that wrong
/// labels move little; rare classes borrow from large ones that lie near, and samples drawn from the moments fill them up.
/// RCAL, Zhang et al., 2023, arXiv 2211.10955.
///
///     mu, S: of each given class, without its outliers (local outlier factor);  w_j ~ n_j exp(-|mu_k - mu_j|^2 / h)
///     mu' = g mu + (1 - g) sum_j w_j mu_j,  S' = g S + (1 - g) sum_j w_j S_j + ridge trace / d I,  g = n / (n + mean n)
///     cross-entropy of mixed samples + that of the drawn ones + lam mean |z - z_0|^2
///
/// Epochs: contrast of views (none for an encoder that comes pre-trained), the last layer alone, then all layers.
final class RepresentationCalibration: RecordedProcedure {
  static let method = Method.procedure(
    "rcal_representation_calibration", aliases: ["rcal"], area: "noisy-labels",
    summary: "Fills rare classes with draws from class moments of label-free features, made robust and borrowed.",
    reference: Reference(
      "Zhang et al.", 2023, "When Noisy Labels Meet Long Tail Dilemmas: A Representation Calibration Method",
      arXiv: "2211.10955"),
    parameters: [
      .integer("q", 3, in: 0...1_000_000, "Large classes that a rare one borrows from."),
      .optionalReal("g", in: .unit, "The share of a rare class's own moments; none: n / (n + mean n) in [0.2, 0.9]."),
      .real("head_share", 0.5, in: .unit, "The share of the classes, the largest, that do not borrow."),
      .real("ridge", 0.01, in: .nonNegative, "What is added to variances, as a share of their mean."),
      .integer("lof_k", 20, in: 1...1_000_000, "Neighbours that tell outliers."),
      .real("contamination", 0.2, in: .belowOne, "The share of each class that is left out as outliers."),
      .real("lam", 1, in: .nonNegative, "How firmly features are held where they were."),
      .real("mixup_alpha", 1, in: .nonNegative, "The share of a sample in a mixture is Beta(a, a); 0: no mixtures."),
      .integer("contrastive_epochs", 100, in: 0 ... .max, "Epochs of contrast without labels before."),
      .integer("head_epochs", 10, in: 0 ... .max, "Epochs in which the last layer learns alone."),
      .real("temperature", 0.5, in: .positive, "Of the contrast."),
      .real("noise", 0.1, in: .nonNegative, "The standard deviation of the noise that makes a view."),
    ] + ContrastiveStage.parameters,
    state: [
      SampleState("features", ["F"], "What the encoder made of the sample without labels."),
      SampleState("drawn", ["R", "F"], "Features drawn anew for each epoch; R = (C n_max - N) / N, rounded up."),
      SampleState("drawn class", ["R"], initial: -1, "Their classes, -1 for none."),
    ], replaces: [.objective], RepresentationCalibration.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  private var pretraining: Int { arguments.integer("contrastive_epochs") }
  private var alone: Int { pretraining.addingReportingOverflow(arguments.integer("head_epochs")).partialValue }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireCrossEntropy(model, loss)
    _ = try ClassifierHead(model)
    guard model.input.kind == .real else {
      throw TemperError(.unsupported, "It makes views by noise and mixes samples; this model takes indices.")
    }
  }

  /// How many are missing in all until every class has the size of the largest, for each sample.
  func size(_ letter: String, _ training: Training) -> Int? {
    guard letter == "R", let ids = try? training.classIds(for: self) else { return nil }
    let counts = sizes(ids, training.networks[0].model.output.last)
    let missing = counts.reduce(0) { $0 + (counts.max() ?? 0) - $1 }
    return (missing + ids.count - 1) / ids.count
  }

  private func sizes(_ ids: [Int], _ classes: Int) -> [Int] {
    var counts = [Int](repeating: 0, count: classes)
    for id in ids where (0..<classes).contains(id) { counts[id] += 1 }
    return counts
  }

  func prepare(_ training: Training) throws(TemperError) {
    let head = try ClassifierHead(training.networks[0].model)
    _ = try training.classIds(for: self)
    try keepState(training)
    if pretraining > 0 { try ContrastiveStage(arguments, width: head.width).prepare(training) }
    try training.keep("means", [head.classes, head.width])
    try training.keep("factors", [head.classes, head.width, head.width])
  }

  func phase(_ position: Position) -> Int { position.epoch <= pretraining ? 0 : position.epoch <= alone ? 1 : 2 }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    guard training.position.epoch > pretraining else { return }
    if training.position.epoch == pretraining + 1 { try measure(training) }
    try draw(training)
  }

  /// Features, and the moments of each class.
  private func measure(_ training: Training) throws(TemperError) {
    let kept = try training.kept("features")
    try kept.assign(from: try training.view().features.reshaped(kept.shape))
    if pretraining > 0 { try training.forgetMoments() }
    let (all, ids) = (try Matrix(kept), try training.classIds(for: self))
    let (classes, d) = (training.networks[0].model.output.last, all.columns)
    var (means, spreads) = ([[Double]](), [Matrix]())
    for k in 0..<classes {
      var members = ids.indices.filter { ids[$0] == k }
      let factors = try all.rows(members).localOutlierFactors(
        neighbours: arguments.integer("lof_k"), workers: training.workers)
      let left = members.count - Int(arguments.real("contamination") * Double(members.count))
      members = ascendingOrder(factors).prefix(left).map { members[$0] }
      let own = all.rows(members)
      means.append(own.means)
      spreads.append(try RepresentationCalibration.covariance(own, means[k], training.workers))
    }
    let counts = sizes(ids, classes).map(Double.init)
    let average = counts.reduce(0, +) / Double(classes)
    let bySize = ascendingOrder(counts.map { -$0 })
    let large = bySize.prefix(max(1, Int((arguments.real("head_share") * Double(classes)).rounded(.up))))
    func apart(_ a: Int, _ b: Int) -> Double {
      zip(means[a], means[b]).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    }
    var h = 0.0
    for a in 0..<classes { for b in 0..<classes where a != b { h += apart(a, b) } }
    h = max(h / Double(max(classes * (classes - 1), 1)), 1e-12)
    var (newMeans, newFactors) = ([Double](), [Double]())
    for k in 0..<classes {
      var (mean, spread) = (means[k], spreads[k])
      let near = ascendingOrder(large.map { apart(k, $0) }).prefix(arguments.integer("q")).map { large[$0] }
      if !large.contains(k), !near.isEmpty {
        let g = arguments.optionalReal("g") ?? min(max(counts[k] / (counts[k] + average), 0.2), 0.9)
        let weights = near.map { counts[$0] * power(2.718281828459045, -apart(k, $0) / h) }
        let whole = max(weights.reduce(0, +), 1e-300)
        for i in 0..<d { mean[i] *= g }
        for i in spread.values.indices { spread.values[i] *= g }
        for (j, weight) in zip(near, weights) {
          let share = (1 - g) * weight / whole
          for i in 0..<d { mean[i] += share * means[j][i] }
          for i in spread.values.indices { spread.values[i] += share * spreads[j].values[i] }
        }
      }
      let trace = (0..<d).reduce(0.0) { $0 + spread[$1, $1] }
      for i in 0..<d { spread[i, i] += arguments.real("ridge") * trace / Double(d) }
      newMeans += mean
      newFactors += spread.choleskyFactor.values
    }
    try training.kept("means").assign(from: try Tensor(newMeans, shape: [classes, d]))
    try training.kept("factors").assign(from: try Tensor(newFactors, shape: [classes, d, d]))
  }

  private static func covariance(
    _ rows: Matrix, _ means: [Double], _ workers: Workers
  ) throws(TemperError) -> Matrix {
    guard rows.rows > 0 else { return Matrix(zeros: rows.columns, rows.columns) }
    var centred = rows
    for at in centred.values.indices { centred.values[at] -= means[at % rows.columns] }
    let (a, square) = (try centred.tensor(), try Tensor(zeros: [rows.columns, rows.columns], .float64))
    try MatrixProduct.run(try a.permuted([1, 0]), a, into: square, workers: workers)
    var result = try Matrix(square)
    for at in result.values.indices { result.values[at] /= Double(rows.rows) }
    return result
  }

  /// What every class is short of, in random order, from N(mu', S').
  private func draw(_ training: Training) throws(TemperError) {
    guard let drawn = try? training.kept("drawn") else { return }
    let (classes, d) = (training.networks[0].model.output.last, drawn.shape.last)
    let counts = sizes(try training.classIds(for: self), classes)
    let missing = counts.enumerated().flatMap { [Int](repeating: $0, count: (counts.max() ?? 0) - $1) }
    var random = training.random("drawn features").stream(training.position.epoch)
    let order = random.permutation(missing.count)
    let (means, factors) = (try training.kept("means"), try training.kept("factors"))
    let normals = try Tensor((0..<missing.count * d).map { _ in random.normal() }, shape: [missing.count, d])
      .copy(as: drawn.dtype)
    let rows = try drawn.reshaped([drawn.count / d, d])
    var ids = [Double](repeating: -1, count: rows.shape[0])
    var placesOf = [[Int]](repeating: [], count: classes)
    for (place, at) in order.enumerated() { placesOf[missing[at]].append(place) }
    for (k, places) in placesOf.enumerated() where !places.isEmpty {
      for place in places { ids[place] = Double(k) }
      let own = try means.slice(k..<k + 1).broadcast(to: [places.count, d]).copy()
      try MatrixProduct.run(
        try normals.rows(places), try factors.slice(k..<k + 1).reshaped([d, d]).permuted([1, 0]), into: own,
        accumulate: true, workers: training.workers)
      try rows.put(own, at: places)
    }
    let kept = try training.kept("drawn class")
    try kept.assign(from: try Tensor(ids, shape: kept.shape))
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let head = try ClassifierHead(step.training.networks[0].model)
    if step.phase == 0 {
      return try ContrastiveStage(arguments, width: head.width).objective(
        step, noise: arguments.real("noise"), temperature: arguments.real("temperature"))
    }
    let (first, y) = (try step.rows("features"), try step.targetProbabilities(head.classes))
    let parameters = step.parameters()
    let ofDrawn = try drawnLoss(step, head, parameters)
    if step.phase == 1 { return -(y * head.logits(first, parameters).logSoftmax()).sum().meanAll() + ofDrawn }
    let share = step.mixingShare(arguments.real("mixup_alpha"))
    let x = try step.rows("x")
    let mixed = try step.forward(0, x.mixed(share))
    let fit = -(y.mixed(share) * mixed.logSoftmax()).sum().meanAll()
    let now = try step.flatFeatures(of: try step.forward(0, x))
    return fit + ofDrawn + arguments.real("lam") * square(now - first).sum().meanAll()
  }

  /// The mean cross-entropy of the batch's drawn features; they reach the head alone.
  private func drawnLoss(
    _ step: StepGraph, _ head: ClassifierHead, _ parameters: [Expression]
  ) throws(TemperError) -> Expression {
    guard let drawn = try? step.rows("drawn") else { return .constant(0) }
    let rows = drawn.shape.count / head.width
    let ids = try step.rows("drawn class").reshaped([rows, 1])
    let target = ids .== Expression.iota([rows, head.classes], axis: 1)
    let values = -(target * head.logits(drawn.reshaped([rows, head.width]), parameters).logSoftmax()).sum()
    return values.mean(over: (ids .>= 0).stopGradient)
  }
}
