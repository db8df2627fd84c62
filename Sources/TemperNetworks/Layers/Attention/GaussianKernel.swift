import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// P A^+ P^T V for each head, times W_o^T, with queries that are the keys too: S(x, y) = exp(-|x - y|^2 / (2 sqrt d)), P = S(Q, L),
  /// A = S(L, L), L the means of n_landmarks stretches of Q; A^+ by Newton's method, between the roots of A's row sums.
  static let gaussianAttention = Method.layer(
    "soft_attention_gaussian", summary: "Attention without softmax, through landmarks: linear in the steps.",
    reference: Reference(
      "Lu, Zhang, Yao, Zhang, Ji, Feng, Xiang and Zhang", 2022, "Softmax-free Linear Transformers",
      arXiv: "2207.03341"),
    options: Heads.options + [
      .integer("n_landmarks", 49, in: 1...65_536, "Landmarks; with as many as steps, or more, they are the queries."),
      .integer("newton_iters", 20, in: 1...10_000, "Steps of Newton's method."),
      .real("reg", 0.01, in: .nonNegative, "Added to the diagonal of A before it is inverted."),
      .real("alpha_factor", 0.9, in: .unit, "The start of the inversion is 2 alpha_factor / (largest row sum)^2 A."),
      .boolean("normalize", true, "Divide A^+ by the roots of A's row sums on both sides, which bounds its norm."),
    ],
    main: "heads"
  ) { (layer) throws(TemperError) in
    let heads = try Heads(layer, projections: 2)
    let count = min(layer.integer("n_landmarks"), heads.steps)
    try layer.requireSize([heads.count, heads.steps, count])
    let (steps, reg) = (layer.integer("newton_iters"), layer.real("reg"))
    let (factor, isNormalized) = (layer.real("alpha_factor"), layer.boolean("normalize"))
    return { x, pass in
      let parts = heads.project(x, pass)
      let q = heads.split(parts[0])
      let landmarks = q.stretchMeans(count)
      let (p, a) = (q.gaussianKernel(landmarks), landmarks.gaussianKernel(landmarks))
      var inverse = (a + reg * .diagonalOnes(count)).newtonInverse(steps: steps, factor: factor)
      if isNormalized {
        let root = reciprocal(sqrt(a.sum()))
        inverse = root * inverse * root.transposed
      }
      let seen = Expression.matmul(p, .matmul(inverse, .matmul(p, heads.split(parts[1]), transposeA: true)))
      return heads.output(heads.joined(seen), pass)
    }
  }
}

extension Expression {
  fileprivate static func diagonalOnes(_ n: Int) -> Expression { .iota([n, n], axis: 0) .== .iota([n, n], axis: 1) }

  /// Means of `count` stretches of nearly equal length of the steps: (N, H, T, d) to (N, H, count, d).
  fileprivate func stretchMeans(_ count: Int) -> Expression {
    let steps = shape[2]
    if count == steps { return self }
    // Step t belongs to stretch floor(t count / T).
    let home = TemperGraph.floor((Expression.iota([1, steps]) * Double(count) + 0.5) / Double(steps))
    let isIn = home .== .iota([count, 1], axis: 0)
    let shares = isIn / isIn.sum()
    return .matmul(shares.broadcast(to: Shape(shape.sizes.prefix(2) + [count, steps])), self)
  }

  /// exp(-|x_i - y_j|^2 / (2 sqrt d)) for rows of (..., n, d) and (..., m, d).
  func gaussianKernel(_ other: Expression) -> Expression {
    let distance =
      square(self).sum() + square(other).sum().transposed - 2 * Expression.matmul(self, other, transposeB: true)
    return TemperGraph.exp(TemperGraph.maximum(distance, 0) * (-0.5 / Double(shape.last).squareRoot()))
  }

  /// The inverse of symmetric positive definite matrices by V <- 2 V - V A V from 2 factor / (largest row sum)^2 A. Its derivative
  /// is that of one more step, -V dA V.
  func newtonInverse(steps: Int, factor: Double) -> Expression {
    let a = stopGradient
    let largest = a.sum().maximum(axis: -2)
    var v = a * (2 * factor / square(largest))
    for _ in 0..<steps { v = 2 * v - .matmul(v, .matmul(a, v)) }
    let fixed = v.stopGradient
    return fixed - .matmul(fixed, .matmul(self - a, fixed))
  }
}
