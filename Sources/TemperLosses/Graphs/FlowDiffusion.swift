import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let graphs = [flowDiffusion]

  /// argmin over x >= 0 of (1/2) sum over edges of w_ij (x_i - x_j)^2 - sum_i (source_i - sink_i) x_i, where w_ij is the
  /// adjacency where labels agree and eps times it where they do not.
  static let flowDiffusion = Method(
    "label_weighted_flow_diffusion", kind: .op, area: "noisy-labels",
    summary: "How high mass piles up that spreads over a graph whose edges between different labels are weak.",
    reference: Reference(
      "de Luca, Fountoulakis and Yang", 2023, "Local Graph Clustering with Noisy Labels", arXiv: "2310.08031"),
    parameters: [.real("eps", 0.05, in: .unit, "The factor of edges between different labels.")],
    inputs: [
      Input("adjacency", [.init(["N", "N"])], isDifferentiable: false, "Weights of the edges: symmetric, 0 or more."),
      Input("source", [.init(["N"])], isDifferentiable: false, "Mass put on each node."),
      Input("sinks", [.init(["N"])], isDifferentiable: false, "Mass that each node holds."),
      Input("labels", [.init(["N"], .index(below: nil))], "A noisy label for each node."),
    ],
    check: { (inputs, _) throws(TemperError) in
      guard let adjacency = inputs["adjacency"], adjacency.shape.rank == 2 else { return }
      let (a, n) = (try adjacency.array(of: Double.self), adjacency.shape[0])
      for i in 0..<n {
        for j in 0..<n where !(a[i * n + j] >= 0 && a[i * n + j].isFinite && a[i * n + j] == a[j * n + i]) {
          throw TemperError(
            .outOfRange, "The adjacency must be symmetric, finite and 0 or more; it is not at (\(i), \(j)).")
        }
      }
      for name in ["source", "sinks"] {
        if let bad = try inputs[name]?.array(of: Double.self).firstIndex(where: { !$0.isFinite }) {
          throw TemperError(.notFinite, "\(name) must be finite; element \(bad) is not.")
        }
      }
    },
    implementation: .operation { x in
      let eps = x.real("eps")
      let operation = CustomOperation(name: "label_weighted_flow_diffusion") {
        (inputs, heights, _) throws(TemperError) in
        let labels = try inputs[3].array(of: Int32.self)
        let n = labels.count
        var weights = try inputs[0].array(of: Double.self)
        for i in 0..<n { for j in 0..<n where labels[i] != labels[j] { weights[i * n + j] *= eps } }
        let excess = zip(try inputs[1].array(of: Double.self), try inputs[2].array(of: Double.self)).map { $0 - $1 }
        try heights.assign(from: try Tensor(try Diffusion.heights(weights, excess), shape: heights.shape))
      }
      let inputs = ["adjacency", "source", "sinks", "labels"].map { x[$0] }
      return .custom(operation, inputs, shape: [x["adjacency"].shape[0]])
    })
}

/// The linear complementarity problem of flow diffusion: x >= 0, L x - excess >= 0, one of them 0 at every node, L the
/// Laplacian.
private enum Diffusion {
  /// Chandrasekaran's method: L has no positive entry off its diagonal, so a node that once overflows stays in the
  /// support, and the support grows to the exact one in at most n solutions.
  static func heights(_ weights: [Double], _ excess: [Double]) throws(TemperError) -> [Double] {
    let n = excess.count
    let degrees = (0..<n).map { i in (0..<n).reduce(0) { $0 + ($1 == i ? 0 : weights[i * n + $1]) } }
    let scale = excess.reduce(0) { max($0, abs($1)) }
    var (x, support) = ([Double](repeating: 0, count: n), [Int]())
    while true {
      // What a node holds above its sink while x is as it is.
      let surplus = (0..<n).map { i in
        excess[i] - degrees[i] * x[i] + support.reduce(0) { $0 + ($1 == i ? 0 : weights[i * n + $1] * x[$1]) }
      }
      let more = (0..<n).filter { !support.contains($0) && surplus[$0] > 1e-12 * scale }
      if more.isEmpty { return x }
      support = (support + more).sorted()
      let laplacian = support.map { i in support.map { i == $0 ? degrees[i] : -weights[i * n + $0] } }
      guard let solution = solve(laplacian, support.map { excess[$0] }) else {
        throw TemperError(
          .outOfRange,
          "A connected part of the graph has more source than sinks: its mass has nowhere to stay, and there is no minimiser."
        )
      }
      for (i, value) in zip(support, solution) { x[i] = max(value, 0) }
    }
  }

  /// A y = b for a symmetric positive definite A by elimination, or nil where a pivot is lost.
  private static func solve(_ a: [[Double]], _ b: [Double]) -> [Double]? {
    var (a, y) = (a, b)
    let n = b.count
    for k in 0..<n {
      let whole = a[k][k]
      for j in 0..<k {
        let factor = a[k][j]
        if factor == 0 { continue }
        a[k][j] = factor / a[j][j]
        for l in (j + 1)..<n { a[k][l] -= a[k][j] * a[j][l] }
        y[k] -= a[k][j] * y[j]
      }
      guard a[k][k] > 1e-12 * whole else { return nil }
    }
    for k in stride(from: n - 1, through: 0, by: -1) {
      for l in (k + 1)..<max(n, k + 1) { y[k] -= a[k][l] * y[l] }
      y[k] /= a[k][k]
    }
    return y
  }
}
