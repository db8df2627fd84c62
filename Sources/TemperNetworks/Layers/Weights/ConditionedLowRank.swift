import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// y = ((x V) S^T) U^T + b, U and V with orthonormal columns, r = ceil((1 - compression) min(m, n)). Their gradients are
  /// (I - U U^T) G times a factor; after every step U and V are orthonormalized and the singular values of S are brought to
  /// where their ratio is at most tau ("approx_orth"), or all equal ("mean").
  static let conditionedLowRank = Method.layer(
    "condlr_linear", area: "regularize",
    summary: "A dense layer of low rank whose condition number is bounded all through training.",
    reference: Reference(
      "Savostianova, Zangrando, Ceruti, Tudisco", 2023,
      "Robust low-rank training via approximate orthonormal constraints", arXiv: "2306.01485"),
    options: [
      .size("size", "Outputs.").named(also: "units"),
      .real("compression", 0.8, in: .belowOne, "Share of the rank left out."),
      .choice("mode", ["approx_orth", "mean"], "Singular values in an interval, or all equal."),
      LayerOption.real("tau", 1.1, in: Interval(1, .infinity), "Bound on the condition number of approx_orth."),
      .boolean("bias", true, "Add a trained bias."),
    ], main: "size"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...7, "samples with at least one axis")
    let (outputs, inputs) = (layer.integer("size"), layer.input.last)
    try layer.requireSize(layer.input.sizes.dropLast() + [outputs])
    let (smaller, larger) = (min(outputs, inputs), max(outputs, inputs))
    let rank = max(Int(ceil((1 - layer.real("compression")) * Double(smaller))), 1)
    guard rank <= 2048 else {
      throw TemperError(
        .unsupported, "Ranks of at most 2048 are constrained; \(rank) came. A larger compression lowers it.")
    }
    let bound = SpectrumBound(tau: layer.text("mode") == "mean" ? nil : layer.real("tau"), rank: rank)
    let left = try layer.parameter("u", [outputs, rank], .orthogonal(gain: 1))
    let right = try layer.parameter("v", [inputs, rank], .orthogonal(gain: 1))
    let middle = try layer.parameter("s", [rank, rank], .zeros)
    let bias = layer.boolean("bias") ? try layer.parameter("bias", [outputs], .fanInUniform, fanIn: inputs) : nil
    // The largest singular values of a weight U(-b, b), b = sqrt(6 / inputs), as they spread in large matrices.
    let spread = (2 / Double(inputs)).squareRoot() * Double(larger).squareRoot()
    let values = marchenkoPastur(rank, of: smaller, ratio: Double(smaller) / Double(larger)).map {
      $0.squareRoot() * spread
    }
    layer.start(middle) { _ in (0..<(rank * rank)).map { $0 / rank == $0 % rank ? values[$0 / rank] : 0 } }
    layer.constrain { (model) throws(TemperError) in
      for (name, rows) in [(left, outputs), (right, inputs)] {
        let factor = HostMatrix(rows, rank, try model.values(name))
        try model.assign(name, factor.orthonormalized.elements)
      }
      try model.assign(middle, bound.applied(to: try model.values(middle)))
    }
    return { x, pass in
      let factor = bound.stepFactor(pass[middle].stopGradient)
      func tangent(_ name: String) -> Expression {
        let (value, fixed) = (pass[name], pass[name].stopGradient)
        // Adds 0 to the value; the gradient of what is added is (I - U U^T) G times the factor.
        let change = value - fixed
        let along = Expression.matmul(fixed, Expression.matmul(fixed, change, transposeA: true))
        return fixed + factor * (change - along)
      }
      let rows = x.reshaped([x.shape.count / inputs, inputs])
      let inner = Expression.matmul(Expression.matmul(rows, tangent(right)), pass[middle], transposeB: true)
      let y = Expression.matmul(inner, tangent(left), transposeB: true)
        .reshaped(Shape(x.shape.sizes.dropLast() + [outputs]))
      return bias.map { y + pass[$0] } ?? y
    }
  }

  /// The largest `count` of `total` eigenvalues of A^T A / rows at the quantiles of Marchenko's and Pastur's law (1967),
  /// ratio = columns / rows <= 1, for entries of variance 1: density sqrt((b - x) (x - a)) / (2 pi ratio x) on [a, b].
  private static func marchenkoPastur(_ count: Int, of total: Int, ratio: Double) -> [Double] {
    let (a, b) = (
      (1 - ratio.squareRoot()) * (1 - ratio.squareRoot()), (1 + ratio.squareRoot()) * (1 + ratio.squareRoot())
    )
    let points = 4096
    // x = a + (b - a) (1 - cos t) / 2 takes the roots' singularities away.
    var (running, places): ([Double], [Double]) = ([0], [b])
    for i in 0..<points {
      let t = Double.pi * (1 - (Double(i) + 0.5) / Double(points))
      let x = a + (b - a) * (1 - cos(t)) / 2
      running.append(running[i] + sin(t) * sin(t) / max(x, 1e-12))
      places.append(x)
    }
    var at = 0
    return (0..<count).map { index in
      let wanted = (Double(index) + 0.5) / Double(total) * running[points]
      while at < points && running[at] < wanted { at += 1 }
      return places[at]
    }
  }
}

/// What the singular values of S may be.
private struct SpectrumBound: Sendable {
  /// The largest ratio, or nil where all are equal.
  let tau: Double?
  let rank: Int

  func applied(to elements: [Double]) -> [Double] {
    let s = HostMatrix(rank, rank, elements)
    guard let tau else {
      let mean = elements.reduce(0) { $0 + $1 * $1 } / Double(rank)
      return s.orthonormalized.elements.map { $0 * mean.squareRoot() }
    }
    let (values, left, right) = s.singularValues()
    let (low, high) = (values.min() ?? 0, values.max() ?? 0)
    // Rounding must not clip anew what was clipped to the bound itself: the mean would be another.
    if high <= tau * low * (1 + 1e-6) { return elements }
    let middle = values.reduce(0, +) / Double(rank)
    let reach = middle * (tau - 1) / (tau + 1)
    let clipped = values.map { min(max($0, middle - reach), middle + reach) }
    var result = [Double](repeating: 0, count: rank * rank)
    for i in 0..<rank {
      for j in 0..<rank {
        var sum = 0.0
        for k in 0..<rank where values[k] > 0 {
          sum += left.elements[i * rank + k] * (clipped[k] / values[k]) * right.elements[j * rank + k]
        }
        result[i * rank + j] = sum
      }
    }
    return result
  }

  /// 1 / mean squared singular value, or (least / largest)^2, which the constraint keeps at 1 / tau^2 or above.
  func stepFactor(_ s: Expression) -> Expression {
    guard let tau else { return Double(rank) / maximum(square(s).sumAll(), 1e-12) }
    return .constant(1 / (tau * tau))
  }
}

extension Model {
  func assign(_ name: String, _ values: [Double]) throws(TemperError) {
    guard let tensor = variable(name)?.tensor else { return }
    try tensor.assign(from: try Tensor(values, shape: tensor.shape))
  }
}
