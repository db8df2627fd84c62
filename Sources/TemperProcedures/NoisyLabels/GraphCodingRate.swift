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
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    _ = try ClassifierHead(model)
  }

  func prepare(_ training: Training) throws(TemperError) {
    try keepState(training)
    let (classes, ids) = (training.networks[0].model.output.last, try training.classIds(for: self))
    var labels = [Double](repeating: 0, count: ids.count * classes)
    for (node, id) in ids.enumerated() where (0..<classes).contains(id) { labels[node * classes + id] = 1 }
    let known = ids.map { (0..<classes).contains($0) }
    let edges = try self.edges(training).filter { known[$0.0] && known[$0.1] }
    try training.kept("smoothed").assign(
      from: try Tensor(smoothed(labels, edges, classes), shape: [ids.count, classes]))
  }

  /// Each pair once, without loops.
  private func edges(_ training: Training) throws(TemperError) -> [(Int, Int)] {
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

  /// A = D^(-1/2) (edges) D^(-1/2); nodes without neighbours keep what they have.
  private func smoothed(_ labels: [Double], _ edges: [(Int, Int)], _ classes: Int) -> [Double] {
    let alpha = arguments.real("alpha")
    var degrees = [Double](repeating: 0, count: labels.count / classes)
    for (a, b) in edges {
      degrees[a] += 1
      degrees[b] += 1
    }
    var now = labels
    for _ in 0..<arguments.integer("T") {
      var next = now.indices.map { degrees[$0 / classes] > 0 ? alpha * now[$0] : now[$0] }
      for (a, b) in edges {
        let weight = (1 - alpha) / (degrees[a] * degrees[b]).squareRoot()
        for c in 0..<classes {
          next[a * classes + c] += weight * now[b * classes + c]
          next[b * classes + c] += weight * now[a * classes + c]
        }
      }
      now = next
    }
    return now
  }

  func phase(_ position: Position) -> Int { position.epoch > arguments.integer("representation_epochs") ? 1 : 0 }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    if training.position.epoch == arguments.integer("representation_epochs") + 1 { try training.forgetMoments() }
    guard phase(training.position) == 0 else { return }
    let classes = training.networks[0].model.output.last
    var z = try Matrix(try training.view().features)
    for row in 0..<z.rows {
      let length = max(z[row].reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-12)
      for column in 0..<z.columns { z[row, column] /= length }
    }
    let known = try training.kept("smoothed").array(of: Double.self)
    let (ids, beta) = (try training.classIds(for: self), arguments.real("beta"))
    var means = Matrix(zeros: classes, z.columns)
    for row in 0..<z.rows where (0..<classes).contains(ids[row]) {
      let k = GraphCodingRate.largest(known[row * classes..<(row + 1) * classes])
      for column in 0..<z.columns { means[k, column] += z[row, column] }
    }
    let lengths = (0..<classes).map { max(means[$0].reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-12) }
    var mixed = known
    for row in 0..<z.rows {
      for k in 0..<classes {
        let cosine = zip(z[row], means[k]).reduce(0.0) { $0 + $1.0 * $1.1 } / lengths[k]
        mixed[row * classes + k] = beta * mixed[row * classes + k] + (1 - beta) * abs(cosine)
      }
    }
    let spread = smoothed(Matrix(mixed, rows: z.rows, columns: classes).softmax().values, try edges(training), classes)
    try training.kept("class").assign(
      from: try Tensor(
        (0..<z.rows).map { Double(GraphCodingRate.largest(spread[$0 * classes..<($0 + 1) * classes])) },
        shape: [z.rows, 1]))
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
