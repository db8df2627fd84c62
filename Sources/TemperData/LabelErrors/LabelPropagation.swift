import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// Labels that spread from samples that have one over the graph of nearest neighbours.
enum LabelPropagation {
  /// W: w_ij = max(0, cos(x_i, x_j))^gamma for the k nearest, or exp(-|x_i - x_j|² / (2 s²)); S = D^-1/2 (W + Wᵀ) D^-1/2;
  /// scores Z with (I - alpha S) Z = Y, by conjugate gradients; rows are divided by their sums.
  static let method = Method(
    "label_propagation", kind: .op, area: "noisy-labels",
    summary: "Class shares of all samples from the labels of some, over the graph of nearest neighbours.",
    reference: Reference("Zhou et al.", 2003, "Learning with Local and Global Consistency"),
    parameters: [
      .integer("k", 10, in: 1...(1 << 16), "Neighbours of each sample."),
      .real("alpha", 0.99, in: .belowOne, "How much a sample takes from its neighbours."),
      .choice(
        "affinity", ["cosine", "gaussian"], "What neighbours weigh; the nearest are found for the same measure."),
      .real("gamma", 3, in: .positive, "cosine: the power."),
      .real("sigma", 1, in: .positive, "gaussian: the width."),
    ],
    inputs: [
      Input("features", aliases: ["x"], [.init(["N", "D"])], isDifferentiable: false, "Features of the samples."),
      Input("labels", aliases: ["y"], [.init(["N"], .index(below: nil))], none: -1, "Class ids; -1 is no label."),
      Input("num_classes", [.init([], .index(below: nil))], isSize: true, "How many classes there are."),
    ],
    check: { (inputs, _) throws(TemperError) in
      let classes = try inputs["num_classes"]?.array(of: Int64.self).first ?? 0
      let labels = try inputs["labels"]?.array(of: Int64.self) ?? []
      guard (1...4096).contains(classes), labels.allSatisfy({ $0 < classes }), labels.contains(where: { $0 >= 0 })
      else {
        throw TemperError(
          .outOfRange, "There must be 1 to 4096 classes, labels below their number, and at least one label.")
      }
      guard labels.count > 1, try inputs["features"]?.array(of: Double.self).allSatisfy(\.isFinite) ?? false else {
        throw TemperError(.notFinite, "At least two samples with finite features are needed.")
      }
    },
    implementation: .operation { x in
      let (arguments, classes) = (x.arguments, x.size("num_classes"))
      let operation = CustomOperation(name: "label_propagation") { (inputs, result, workers) throws(TemperError) in
        var features = try Matrix(inputs[0])
        let labels = try inputs[1].array(of: Int32.self)
        if arguments.text("affinity") == "cosine" { features = features.unitRows }
        let k = min(arguments.integer("k"), features.rows - 1)
        let near = try Neighbours(of: features, among: features, count: k, isSame: true, workers: workers)
        let graph = Graph(near, features, arguments)
        var scores = Matrix(zeros: features.rows, classes)
        for c in 0..<classes {
          let column = graph.solve(labels.map { Int($0) == c ? 1 : 0 }, alpha: arguments.real("alpha"))
          for row in 0..<features.rows { scores[row, c] = max(column[row], 0) }
        }
        for row in 0..<features.rows {
          let sum = scores[row].reduce(0, +)
          for c in 0..<classes { scores[row, c] = sum > 0 ? scores[row, c] / sum : 1 / Double(classes) }
        }
        try result.assign(from: try scores.tensor())
      }
      return .custom(operation, [x["features"], x["labels"]], shape: [x["features"].shape[0], classes])
    })

  /// S, a list of (neighbour, weight) for each sample.
  private struct Graph {
    private var edges: [[(to: Int, weight: Double)]]

    init(_ near: Neighbours, _ features: Matrix, _ arguments: Arguments) {
      let n = features.rows
      var edges = [[(to: Int, weight: Double)]](repeating: [], count: n)
      let isCosine = arguments.text("affinity") == "cosine"
      let (gamma, sigma) = (arguments.real("gamma"), arguments.real("sigma"))
      for i in 0..<n {
        for (place, id) in near[i].enumerated() {
          let distance = near.distances[i * near.count + place]
          // For rows of length 1: cos = 1 - d² / 2.
          let weight =
            isCosine
            ? pow(max(0, 1 - distance * distance / 2), gamma) : exp(-distance * distance / (2 * sigma * sigma))
          edges[i].append((Int(id), weight))
          edges[Int(id)].append((i, weight))
        }
      }
      let degrees = edges.map { own in own.reduce(0) { $0 + $1.weight } }
      let roots = degrees.map { $0 > 0 ? 1 / $0.squareRoot() : 0 }
      self.edges = edges.enumerated().map { i, own in own.map { ($0.to, $0.weight * roots[i] * roots[$0.to]) } }
    }

    /// (I - alpha S) z = y
    func solve(_ y: [Double], alpha: Double) -> [Double] {
      func applied(_ v: [Double]) -> [Double] {
        edges.indices.map { i in v[i] - alpha * edges[i].reduce(0) { $0 + $1.weight * v[$1.to] } }
      }
      func product(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
      var z = [Double](repeating: 0, count: y.count)
      var (residual, direction) = (y, y)
      var square = product(y, y)
      let end = square * 1e-24
      for _ in 0..<2000 where square > end {
        let moved = applied(direction)
        let step = square / product(direction, moved)
        for i in z.indices {
          z[i] += step * direction[i]
          residual[i] -= step * moved[i]
        }
        let next = product(residual, residual)
        for i in z.indices { direction[i] = residual[i] + next / square * direction[i] }
        square = next
      }
      return z
    }
  }
}

extension Matrix {
  /// Rows of length 1; those of 0 stay.
  fileprivate var unitRows: Matrix {
    var result = self
    for row in 0..<rows {
      let length = self[row].reduce(0) { $0 + $1 * $1 }.squareRoot()
      if length > 0 { for column in 0..<columns { result[row, column] /= length } }
    }
    return result
  }
}
