import Glibc
import TemperCore

/// What a layer's outputs miss by, as a function of its weights: mean over inputs of |(Ŵ − W) x|² = tr(D G Dᵀ) / n.
struct LayerObjective {
  let rows: Int
  let columns: Int
  /// G / n, float32.
  private let gram: Tensor
  private let workers: Workers

  init(_ inputs: InputStatistics, rows: Int, workers: Workers) throws(TemperError) {
    let scale = 1 / Double(max(inputs.samples, 1))
    let values = try inputs.gram.array(of: Double.self).map { Float($0 * scale) }
    gram = try Tensor(values, shape: inputs.gram.shape)
    (self.rows, columns, self.workers) = (rows, inputs.columns, workers)
  }

  /// The value for D = Ŵ − W, and its gradient 2 D G / n.
  func callAsFunction(_ difference: [Float]) throws(TemperError) -> (value: Double, gradient: [Float]) {
    let product = try Tensor(zeros: [rows, columns], .float32)
    try MatrixProduct.run(try Tensor(difference, shape: [rows, columns]), gram, into: product, workers: workers)
    let half = try product.array(of: Float.self)
    let value = zip(difference, half).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
    return (max(value, 0), half.map { 2 * $0 })
  }
}

/// Adam for arrays of numbers that a method tunes for itself.
struct AdamState {
  private var first: [Float]
  private var second: [Float]
  private var steps = 0
  private let (beta1, beta2): (Float, Float)

  init(count: Int, beta1: Float = 0.9, beta2: Float = 0.999) {
    first = [Float](repeating: 0, count: count)
    (second, self.beta1, self.beta2) = (first, beta1, beta2)
  }

  /// values −= rate · m̂ / (√v̂ + 1e−8)
  mutating func step(_ values: inout [Float], _ gradient: [Float], rate: Float) {
    steps += 1
    let (one, two) = (1 - pow(beta1, Float(steps)), 1 - pow(beta2, Float(steps)))
    for i in values.indices {
      first[i] = beta1 * first[i] + (1 - beta1) * gradient[i]
      second[i] = beta2 * second[i] + (1 - beta2) * gradient[i] * gradient[i]
      values[i] -= rate * (first[i] / one) / ((second[i] / two).squareRoot() + 1e-8)
    }
  }
}
