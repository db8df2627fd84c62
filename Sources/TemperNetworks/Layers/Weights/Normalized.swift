import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// W = g v / |v| for each output: direction and length apart. g starts at |v|.
  static let weightNorm = Method.layer(
    "weight_norm", summary: "Splits the weights of the layers that it holds into directions and lengths.",
    reference: Reference(
      "Salimans, Kingma", 2016,
      "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks",
      arXiv: "1602.07868"),
    options: [LayerBuilder.heldLayers], main: "layers"
  ) { (layer) throws(TemperError) in
    try layer.reparametrized { (weight) throws(TemperError) in
      let (shape, rows, columns) = (weight.shape, weight.rows, weight.columns)
      let length = try weight.parameter("g", [rows, 1], .ones)
      weight.start(length, weight.rowNorms)
      return { v, pass in
        let flat = v.reshaped([rows, columns])
        return (flat * (pass[length] / flat.rowNorms())).reshaped(shape)
      }
    }
  }

  /// W / sigma, sigma = u^T W v the largest singular value by power iteration: v <- W^T u / |.|, u <- W v / |.|, each
  /// step of training, u and v constant for the gradient.
  static let spectralNorm = Method.layer(
    "spectral_norm", summary: "Divides the weights of the layers that it holds by their largest singular value.",
    reference: Reference(
      "Miyato, Kataoka, Koyama, Yoshida", 2018, "Spectral Normalization for Generative Adversarial Networks",
      arXiv: "1802.05957"),
    options: [
      LayerBuilder.heldLayers,
      .integer("power_iterations", 1, in: 1...100, "In every step of training."),
      .real("epsilon", 1e-12, in: .positive, "The least norm to divide by."),
    ], main: "layers"
  ) { (layer) throws(TemperError) in
    let (iterations, epsilon) = (layer.integer("power_iterations"), layer.real("epsilon"))
    return try layer.reparametrized { (weight) throws(TemperError) in
      let (shape, rows, columns) = (weight.shape, weight.rows, weight.columns)
      let left = try weight.buffer("u", [rows], .normal(mean: 0, std: 1))
      let right = try weight.buffer("v", [columns], .normal(mean: 0, std: 1))
      let starting = PowerIteration(rows: rows, columns: columns)
      weight.start(left) { starting.vectors($0).left }
      weight.start(right) { starting.vectors($0).right }
      return { w, pass in
        let matrix = w.reshaped([rows, columns])
        var (u, v) = (pass[left].reshaped([rows, 1]), pass[right].reshaped([columns, 1]))
        func unit(_ x: Expression) -> Expression {
          let norm = sqrt(square(x).sumAll())
          return x / maximum(norm, epsilon)
        }
        if pass.mode == .training {
          let fixed = matrix.stopGradient
          for _ in 0..<iterations {
            v = unit(.matmul(fixed, u, transposeA: true))
            u = unit(.matmul(fixed, v))
          }
          pass.update(left, to: u.reshaped([rows]))
          pass.update(right, to: v.reshaped([columns]))
        }
        let sigma = (u.stopGradient * Expression.matmul(matrix, v.stopGradient)).sumAll()
        return (matrix / sigma).reshaped(shape)
      }
    }
  }
}

/// Singular vectors of a new weight, by as many iterations as PyTorch makes.
private struct PowerIteration: Sendable {
  let rows: Int, columns: Int

  func vectors(_ weight: [Double]) -> (left: [Double], right: [Double]) {
    // Any start with a share of the first singular vector will do; this one is the same for every machine.
    var left = (0..<rows).map { 1 + 0.5 * Double($0 % 7) / 7 }
    var right = [Double](repeating: 0, count: columns)
    for _ in 0..<15 {
      for column in 0..<columns {
        right[column] = (0..<rows).reduce(0) { $0 + weight[$1 * columns + column] * left[$1] }
      }
      PowerIteration.normalize(&right)
      for row in 0..<rows { left[row] = (0..<columns).reduce(0) { $0 + weight[row * columns + $1] * right[$1] } }
      PowerIteration.normalize(&left)
    }
    return (left, right)
  }

  private static func normalize(_ x: inout [Double]) {
    let norm = max(x.reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-12)
    for i in x.indices { x[i] /= norm }
  }
}
