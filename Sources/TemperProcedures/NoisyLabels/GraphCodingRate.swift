import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Nodes of a graph whose labels are partly wrong or unknown: features of each class are drawn into a small space and those
/// of all classes spread, where classes come from labels smoothed along edges and from likeness to class means.
/// ERASE, Chen et al., 2023, arXiv 2312.08852.
///
///     R = 1/2 log det(I + gam1 p / (m eps) Z'Z),  R_c = sum_j m_j / (2 m) log det(I + p / (m_j eps) Z_j'Z_j)
///     loss gam1 R_c - gam2 R over features of length 1, (m, p)
///     Y <- (1 - alpha) A Y + alpha Y, T times: before training among labelled nodes; before each epoch, on the whole
///     graph, of softmax(beta Y + (1 - beta) |cos(z, class mean)|), whose largest is a node's class
///
/// x are the nodes' features; a node without a label has the loss's `ignore_index` as target. One batch of all nodes is the
/// paper's step. After `representation_epochs` the last layer alone learns the labels.
final class GraphCodingRate: RecordedProcedure {
  static let method = Method.procedure(
    "erase", area: "noisy-labels",
    summary: "Node features by coding rates, with classes from labels smoothed along edges; then the last layer.",
    reference: Reference(
      "Chen et al.", 2023,
      "ERASE: Error-Resilient Representation Learning on Graphs for Label Noise Tolerance", arXiv: "2312.08852"),
    parameters: [
      .real("eps", 0.05, in: .positive, "The precision that features are coded with."),
      .real("gam1", 1, in: .nonNegative, "The weight of the classes' rates."),
      .real("gam2", 1, in: .nonNegative, "The weight of the whole's."),
      .real("alpha", 0.6, in: .unit, "The share of a node's own label when labels are smoothed."),
      .real("beta", 0.6, in: .unit, "The share of labels against likeness to class means."),
      .integer("T", 5, in: 0...10_000, "How often labels are smoothed."),
      .integer("representation_epochs", 200, in: 1 ... .max, "Epochs before the last layer learns the labels."),
    ],
    inputs: [
      Input(
        "edges", [.init(["E", "2"], .index(below: "N"))], "Pairs of nodes that are joined, each pair once or both ways."
      )
    ],
    state: [
      SampleState("smoothed", ["C"], "The labels, smoothed among labelled nodes."),
      SampleState("class", [], "The class that a node is taken for."),
    ], replaces: [.objective], GraphCodingRate.self)

  let arguments: Arguments
  /// Of the data, and made of them anew in each call of `fit`: all edges, and the class that each node counts for in class
  /// means, one-hot, none for nodes without a label.
  private var edges = Edges([], count: 0)
  private var members = Tensor?.none
  private var likeness = TilePlans<Int>?.none

  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    _ = try ClassifierHead(model)
  }

  func prepare(_ training: Training) throws(TemperError) {
    try keepState(training)
    let (classes, ids) = (training.networks[0].model.output.last, try training.classIds(for: self))
    var labels = Matrix(zeros: ids.count, classes)
    for (node, id) in ids.enumerated() where (0..<classes).contains(id) { labels[node, id] = 1 }
    let known = ids.map { (0..<classes).contains($0) }
    let pairs = try pairs(training)
    edges = Edges(pairs, count: ids.count)
    let smoothed = smoothed(labels, Edges(pairs.filter { known[$0.0] && known[$0.1] }, count: ids.count))
    try training.kept("smoothed").assign(from: try smoothed.tensor())
    var members = Matrix(zeros: ids.count, classes)
    for node in ids.indices where known[node] { members[node, GraphCodingRate.largest(smoothed[node])] = 1 }
    self.members = try members.tensor().copy(as: training.networks[0].type)
    likeness = plans(training)
  }

  /// softmax(beta Y + (1 - beta) |cos(z, class mean)|), from features.
  private func plans(_ training: Training) -> TilePlans<Int> {
    let (network, beta) = (training.networks[0], arguments.real("beta"))
    let (count, classes) = (training.sampleCount, network.model.output.last)
    return TilePlans(network.type, training.workers) { width in
      let z = Expression.input("features", [count, width]).unitRows
      let means = Expression.matmul(.input("members", [count, classes]), z, transposeA: true).unitRows
      let cosines = abs(Expression.matmul(z, means, transposeB: true))
      return [Output((beta * .input("smoothed", [count, classes]) + (1 - beta) * cosines).softmax())]
    }
  }

  /// Each pair once, without loops.
  private func pairs(_ training: Training) throws(TemperError) -> [(Int, Int)] {
    let flat = try training.samples.whole["edges"]?.tensor.array(of: Int32.self) ?? []
    let count = training.sampleCount
    let keys = ascending(
      stride(from: 0, to: flat.count, by: 2).map { at in
        Double(min(flat[at], flat[at + 1])) * Double(count) + Double(max(flat[at], flat[at + 1]))
      })
    return keys.indices.filter { $0 == 0 || keys[$0] != keys[$0 - 1] }.compactMap { at in
      let (a, b) = Int(keys[at]).quotientAndRemainder(dividingBy: count)
      return a == b ? nil : (a, b)
    }
  }

  /// Pairs of nodes, as D^(-1/2) (pairs) D^(-1/2) weighs them.
  private struct Edges {
    let ends: [Int32]
    let weights: [Double]
    let hasNeighbours: [Bool]

    init(_ pairs: [(Int, Int)], count: Int) {
      var degrees = [Double](repeating: 0, count: count)
      for (a, b) in pairs {
        degrees[a] += 1
        degrees[b] += 1
      }
      ends = pairs.flatMap { [Int32($0.0), Int32($0.1)] }
      weights = pairs.map { 1 / (degrees[$0.0] * degrees[$0.1]).squareRoot() }
      hasNeighbours = degrees.map { $0 > 0 }
    }
  }

  /// Nodes without neighbours keep what they have.
  private func smoothed(_ labels: Matrix, _ edges: Edges) -> Matrix {
    let alpha = arguments.real("alpha")
    let (own, weights) = (edges.hasNeighbours.map { $0 ? alpha : 1 }, edges.weights.map { (1 - alpha) * $0 })
    var now = labels
    for _ in 0..<arguments.integer("T") { now = now.spread(along: edges.ends, weights, own: own) }
    return now
  }

  func phase(_ position: Position) -> Int { position.epoch > arguments.integer("representation_epochs") ? 1 : 0 }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    if training.position.epoch - 1 == arguments.integer("representation_epochs") { try training.forgetMoments() }
    guard phase(training.position) == 0 else { return }
    guard let members, let likeness else { return }
    let (features, smoothed) = (try training.view().features, try training.kept("smoothed"))
    let shares = try Tensor(zeros: smoothed.shape, smoothed.dtype)
    let width = features.count / training.sampleCount
    try likeness.run(
      width,
      ["features": try features.reshaped([training.sampleCount, width]), "smoothed": smoothed, "members": members],
      [0: shares])
    let spread = self.smoothed(try Matrix(shares), edges)
    try training.kept("class").assign(
      from: try Tensor((0..<spread.rows).map { Double(GraphCodingRate.largest(spread[$0])) }, shape: [spread.rows, 1]))
  }

  private static func largest(_ row: ArraySlice<Double>) -> Int {
    row.indices.reduce(row.startIndex) { row[$1] > row[$0] ? $1 : $0 } - row.startIndex
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let model = step.training.networks[0].model
    if step.phase == 1 {
      let head = try ClassifierHead(model)
      return try step.loss(of: try step.forward(0, parameters: head.alone(step.parameters()))).reduced(.mean)
    }
    let z = try step.flatFeatures(of: try step.forward()).unitRows
    let (m, p) = (Double(step.count), Double(z.shape.last))
    let (gam1, eps) = (arguments.real("gam1"), arguments.real("eps"))
    let own = (try step.rows("class") .== Expression.iota([step.count, model.output.last], axis: 1)).stopGradient
    // log det(I + scale Z'Z) = log det(I + scale ZZ'): the smaller of the two.
    if z.shape.last <= step.count {
      func rate(_ z: Expression, _ scale: Expression) -> Expression {
        let n = z.shape.last
        let identity = Expression.iota([n, n], axis: 0) .== Expression.iota([n, n], axis: 1)
        return (identity + scale * Expression.matmul(z, z, transposeA: true)).logDeterminant().reshaped([])
      }
      var ofClasses = Expression.constant(0)
      for k in 0..<model.output.last {
        let mask = own.slice(k..<k + 1, axis: 1)
        let count = mask.sumAll().reshaped([])
        ofClasses = ofClasses + count / (2 * m) * rate(z * mask, p / (maximum(count, 1) * eps))
      }
      return gam1 * ofClasses - arguments.real("gam2") / 2 * rate(z, .constant(gam1 * p / (m * eps)))
    }
    // ZZ' between nodes of one class alone has a block for each class.
    let products = Expression.matmul(z, z, transposeB: true)
    let identity = Expression.iota(products.shape, axis: 0) .== Expression.iota(products.shape, axis: 1)
    let alike = Expression.matmul(own, own, transposeB: true)
    let count = alike.sum()
    let ofClasses = (identity + p / (count * eps) * alike * products).logDeterminant(weights: count / (2 * m))
    let whole = (identity + gam1 * p / (m * eps) * products).logDeterminant()
    return (gam1 * ofClasses - arguments.real("gam2") / 2 * whole).reshaped([])
  }
}
