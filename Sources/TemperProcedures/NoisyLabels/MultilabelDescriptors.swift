import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Several labels for each sample, some of them wrong: a sample becomes a few descriptors, among vectors that stand for the
/// labels; where its highest labels are not those given, the labels of samples with near descriptors take part in its
/// targets, from which the network then learns anew. BoMD, Chen et al., 2023, arXiv 2203.01937.
///
///     s_c = max_m d_m . w_c;  R = 1 / |P| sum_{p, n} log(1 + exp(s_n - s_p)), or without negatives log(1 + exp(-s_p))
///     2 ((1 - b) (1 + V) R + b D), V and D the variances of the positive labels' vectors and of the descriptors; R for M = 1
///     cost of a neighbour: the sum over the descriptors of its place among the `pool` nearest; y' mean labels of K nearest
///     target 1[y + y' > 0] ((1 - lam) y + lam (g + (1 - g) y')), y' = y where the |P| highest scores are the labels
///
/// Samples without any label are left out.
final class MultilabelDescriptors: RecordedProcedure {
  static let method = Method.procedure(
    "bag_of_multilabel_descriptors", aliases: ["bomd"], area: "noisy-labels",
    summary: "Mends labels, of which a sample has several, by the labels of samples whose descriptors lie near.",
    reference: Reference(
      "Chen et al.", 2023, "BoMD: Bag of Multi-label Descriptors for Noisy Chest X-ray Classification",
      arXiv: "2203.01937"),
    parameters: [
      .integer("M", 3, in: 1...64, "Descriptors of a sample."),
      .integer("embed", 1024, in: 1...65536, "Their length, where no label vectors are given."),
      .real("beta_stage1", 0.3, in: .unit, "The weight of descriptors that agree."),
      .real("beta_stage3", 0.5, in: .unit, "Twice g: what a label of neighbours is worth at least."),
      .real("lam", 0.6, in: .unit, "The share of the neighbours in targets."),
      .integer("K", 10, in: 1...10_000, "Neighbours."),
      .integer("pool", 200, in: 1...100_000, "Descriptors that are looked at for each descriptor."),
      .integer("clean_topk_max", 6, in: 1...100_000, "A sample with more labels than these is not taken for clean."),
      .choice("absent_rank", ["list_length", "zero"], "What a neighbour's place counts in lists that lack it."),
      .integer("descriptor_epochs", 30, in: 1 ... .max, "Epochs that shape descriptors."),
      .real("descriptor_lr", 0.0002, in: .nonNegative, "The learning rate of the layer that makes them, by Adam."),
    ],
    inputs: [
      Input(
        "label_vectors", [.init(["C", "E"])], isOptional: true, isDifferentiable: false, "Drawn where none are given.")
    ],
    state: [
      SampleState("variety", [], "The variance of the vectors of the sample's labels."),
      SampleState("target", ["C"], "The labels, mended after the first stage."),
    ], replaces: [.order, .objective], MultilabelDescriptors.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  private var first: Int { arguments.integer("descriptor_epochs") }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    guard loss.method.name == "binary_cross_entropy_with_logits", model.output.rank == 1 else {
      throw TemperError(
        .unsupported,
        "Its targets are several labels: pass the loss \"binary_cross_entropy_with_logits\" and a model with one output for each label."
      )
    }
  }

  func prepare(_ training: Training) throws(TemperError) {
    try keepState(training)
    let labels = try Matrix(training.targets().tensor)
    try training.kept("target").assign(from: try labels.tensor())
    let given = training.samples.whole["label_vectors"]?.tensor
    let length = given?.shape.last ?? arguments.integer("embed")
    let vectors = try training.keep("vectors", [labels.columns, length])
    if let given {
      try vectors.assign(from: given)
    } else {
      var random = training.random("label vectors")
      let scale = 1 / Double(length).squareRoot()
      try vectors.assign(
        from: try Tensor((0..<vectors.count).map { _ in scale * random.normal() }, shape: vectors.shape))
    }
    // sum over dimensions of the unbiased variance: (sum |w|^2 - |sum w|^2 / n) / (n - 1)
    let w = try Matrix(vectors)
    let variety = (0..<labels.rows).map { row in
      let own = (0..<labels.columns).filter { labels[row, $0] > 0 }
      guard own.count > 1 else { return 0.0 }
      let center = w.rows(own).means
      return own.reduce(0.0) { sum, c in sum + zip(w[c], center).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } }
        / Double(own.count - 1)
    }
    try training.kept("variety").assign(from: try Tensor(variety, shape: [labels.rows, 1]))
    try training.keep("first", training.networks[0].parameters.shape).assign(from: training.networks[0].parameters)
    try side(training, length).prepare(training)
  }

  private func side(_ training: Training, _ length: Int) -> SideNetwork {
    let width = Training.featureShape(training.networks[0].model).count
    return SideNetwork("descriptors", widths: [width, arguments.integer("M") * length])
  }

  func phase(_ position: Position) -> Int { position.epoch > first ? 1 : 0 }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    let labels = try Matrix(training.targets().tensor)
    return try PlainProcedure().order(training).filter { labels[Int($0)].contains { $0 > 0 } }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let outputs = try step.forward()
    if step.phase == 1 {
      return try step.loss(of: outputs, replacing: ["targets": try step.rows("target")]).reduced(.mean)
    }
    let (y, w) = (try step.rows("targets"), try step.whole("vectors"))
    let (b, m, classes) = (step.count, arguments.integer("M"), y.shape.last)
    let side = side(step.training, w.shape.last)
    let parameters = try side.parameters(step)
    let descriptors = side.outputs(try step.flatFeatures(of: outputs), parameters)
      .reshaped([b * m, w.shape.last])
    let scores = Expression.matmul(descriptors, w, transposeB: true).reshaped([b, m, classes]).maximum(axis: 1)
      .reshaped([b, classes])
    let pairs = softplus(scores.reshaped([b, 1, classes]) - scores.reshaped([b, classes, 1]))
    let counts = y.reshaped([b, classes, 1]) * (1 - y).reshaped([b, 1, classes])
    let hasNegatives = (1 - y).sum() .> 0.5
    let apart = (pairs * counts).sum(axes: [1, 2]).reshaped([b, 1])
    let ranking =
      Expression.select(hasNegatives, apart, (y * softplus(-scores)).sum()) / TemperGraph.maximum(y.sum(), 1)
    var values = ranking
    if m > 1 {
      let each = descriptors.reshaped([b, m, w.shape.last])
      let spread = square(each - each.mean(axis: 1)).sum(axes: [1, 2]).reshaped([b, 1]) / Double(m - 1)
      let beta = arguments.real("beta_stage1")
      values = 2 * ((1 - beta) * (1 + (try step.rows("variety"))) * ranking + beta * spread)
    }
    let objective = values.meanAll()
    let slopes = try Differentiate.gradients(of: objective, withRespectTo: parameters)
    try side.moved(step, by: slopes, rate: arguments.real("descriptor_lr"))
    return objective
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    guard training.position.epoch == first else { return }
    let labels = try Matrix(training.targets().tensor)
    let used = (0..<labels.rows).filter { labels[$0].contains { $0 > 0 } }
    let (w, m) = (try Matrix(training.kept("vectors")), arguments.integer("M"))
    let descriptors = try self.descriptors(training, used, w.columns)
    let scores = try Tensor(zeros: [used.count * m, w.rows], .float64)
    try MatrixProduct.run(
      try descriptors.tensor(), try w.tensor().permuted([1, 0]), into: scores, workers: training.workers)
    let noisy = isNoisy(try Matrix(scores), labels, used)
    var targets = labels
    let wanted = used.indices.filter { noisy[$0] }
    let neighbours = try self.neighbours(descriptors, of: wanted, training.workers)
    let (lam, g) = (arguments.real("lam"), arguments.real("beta_stage3") / 2)
    for (item, near) in zip(wanted, neighbours) where !near.isEmpty {
      for c in 0..<labels.columns {
        let (own, theirs) = (
          labels[used[item], c], near.reduce(0.0) { $0 + labels[used[$1], c] } / Double(near.count)
        )
        targets[used[item], c] = own + theirs > 0 ? (1 - lam) * own + lam * (g + (1 - g) * theirs) : 0
      }
    }
    try training.kept("target").assign(from: try targets.tensor())
    try training.networks[0].parameters.assign(from: try training.kept("first"))
    try training.forgetMoments()
  }

  /// Of the samples that count, one below the other, (items * M, E).
  private func descriptors(_ training: Training, _ used: [Int], _ length: Int) throws(TemperError) -> Matrix {
    let (weight, bias) = (
      try Matrix(training.kept("descriptors.1.weight")), try training.kept("descriptors.1.bias").array(of: Double.self)
    )
    let features = try Matrix(training.view().features).rows(used)
    let made = try Tensor(zeros: [used.count, weight.rows], .float64)
    try MatrixProduct.run(
      try features.tensor(), try weight.tensor().permuted([1, 0]), into: made, workers: training.workers)
    var flat = try made.array(of: Double.self)
    for at in flat.indices { flat[at] += bias[at % bias.count] }
    return Matrix(flat, rows: flat.count / length, columns: length)
  }

  /// Whether the |P| highest of max over descriptors of the scores are other labels than those given.
  private func isNoisy(_ scores: Matrix, _ labels: Matrix, _ used: [Int]) -> [Bool] {
    let m = arguments.integer("M")
    return used.enumerated().map { item, row in
      var (lowest, highest, count) = (Double.infinity, -Double.infinity, 0)
      for c in 0..<labels.columns {
        let score = (0..<m).reduce(-Double.infinity) { max($0, scores[item * m + $1, c]) }
        if labels[row, c] > 0 {
          (lowest, count) = (min(lowest, score), count + 1)
        } else {
          highest = max(highest, score)
        }
      }
      return count > arguments.integer("clean_topk_max") || lowest <= highest
    }
  }

  /// The K items that stand earliest in the lists of an item's descriptors, for each of these items.
  private func neighbours(_ points: Matrix, of items: [Int], _ workers: Workers) throws(TemperError) -> [[Int]] {
    let m = arguments.integer("M")
    guard !items.isEmpty, points.rows > m else { return items.map { _ in [] } }
    let queries = points.rows(items.flatMap { item in (0..<m).map { item * m + $0 } })
    let pool = min(arguments.integer("pool"), points.rows)
    let near = try Neighbours(of: queries, among: points, count: pool, workers: workers)
    let takesLength = arguments.text("absent_rank") == "list_length"
    return items.indices.map { at in
      var lists: [[Int: Int]] = []
      for descriptor in 0..<m {
        var places: [Int: Int] = [:]
        for id in near[at * m + descriptor] where places[Int(id) / m] == nil { places[Int(id) / m] = places.count }
        lists.append(places)
      }
      let others = Set(lists.flatMap(\.keys)).subtracting([items[at]])
      let candidates = ascending(others.map(Double.init)).map { Int($0) }
      let costs = candidates.map { candidate in
        lists.reduce(0) { $0 + ($1[candidate] ?? (takesLength ? $1.count : 0)) }
      }
      return ascendingOrder(costs.map(Double.init)).prefix(arguments.integer("K")).map { candidates[$0] }
    }
  }
}
