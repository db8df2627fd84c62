import Glibc
import TemperCatalogue
import TemperCore

/// Learns which of the two levels next to it each weight goes to.
///
/// Minimises E[|(Ŵ − W) x|²] / (mean error of nearest rounding of a weight) + λ Σ (1 − |2h − 1|^β) over v, with
/// ŵ = s (clip(⌊w/s⌋ + z + h) − z), h = clip(1.2 σ(v) − 0.1, 0, 1); β falls from 20 to 2, and the second term is absent in
/// the first fifth. In the end h ≥ ½ rounds up. If nearest rounding misses less, it stays.
package struct AdaRound: Quantizer {
  package var name: String { "adaround" }
  package let uniform: UniformGrid
  package let iterations: Int
  package let rate: Double
  package let regularization: Double
  package var needsInputs: Bool { true }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let nearest = try uniform.nearest(weight, workers: workers)
    guard let inputs, weight.columns > 0 else { return try QuantizedMatrix(nearest) }
    let values = try weight.values.array(of: Float.self)
    let objective = try LayerObjective(inputs, rows: weight.rows, workers: workers)
    let start = zip(try nearest.decoded(workers: workers), values).map { $0 - $1 }
    let miss = try objective(start).value
    guard miss > 0 else { return try QuantizedMatrix(nearest) }
    let learned = try learn(weight, values, nearest, objective, unit: miss / Double(values.count), workers)
    let end = zip(try learned.decoded(workers: workers), values).map { $0 - $1 }
    return try QuantizedMatrix(try objective(end).value < miss ? learned : nearest)
  }

  private func learn(
    _ weight: Weight, _ values: [Float], _ nearest: PackedMatrix, _ objective: LayerObjective, unit: Double,
    _ workers: Workers
  ) throws(TemperError) -> PackedMatrix {
    let (low, high) = (Float(uniform.grid.lowestCode), Float(uniform.grid.highestCode))
    let cells = try nearest.cells()
    let first = Float(uniform.grid.firstLevel)
    // The code below each weight as a real number, and how far above it the weight is.
    let exact = zip(values, cells).map { $0 / $1.scale + $1.zero - first }
    let below = exact.map { $0.rounded(.down) }
    var v = zip(exact, below).map { place, floor -> Float in
      let share = min(max((place - floor + 0.1) / 1.2, 0.01), 0.99)
      return -log(1 / share - 1)
    }
    var adam = AdamState(count: v.count)
    let warmUp = iterations / 5
    for iteration in 0..<iterations {
      let sigmoids = v.map { 1 / (1 + exp(-$0)) }
      let h = sigmoids.map { min(max(1.2 * $0 - 0.1, 0), 1) }
      let codes = zip(below, h).map { $0 + $1 }
      let difference = codes.indices.map { i in
        cells[i].scale * (min(max(codes[i], low), high) + first - cells[i].zero) - values[i]
      }
      let slope = try objective(difference).gradient
      let share = Float(iteration - warmUp) / Float(max(iterations - warmUp, 1))
      let beta = 20 - 18 * share
      let gradient = v.indices.map { i -> Float in
        guard h[i] > 0, h[i] < 1 else { return 0 }
        let isInside = codes[i] > low && codes[i] < high
        var towards = isInside ? slope[i] * cells[i].scale / Float(unit) : 0
        if iteration >= warmUp {
          let from = 2 * h[i] - 1
          towards -= Float(regularization) * 2 * beta * pow(abs(from), beta - 1) * (from < 0 ? -1 : 1)
        }
        return towards * 1.2 * sigmoids[i] * (1 - sigmoids[i])
      }
      adam.step(&v, gradient, rate: Float(rate))
    }
    let codes = v.indices.map { UInt8(min(max(below[$0] + (v[$0] >= 0 ? 1 : 0), low), high)) }
    return try PackedMatrix(
      shape: weight.shape, grid: uniform.grid, groupSize: nearest.groupSize, scales: nearest.scales,
      zeros: nearest.zeros, looseCodes: try Tensor(codes, shape: [weight.rows, weight.columns]), workers: workers)
  }

  static let method = Method(
    "adaround", kind: .quantizer, area: "quant",
    summary: "Learns for each weight whether to round it up or down.",
    reference: Reference(
      "Nagel et al.", 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization", arXiv: "2004.10568"),
    parameters: UniformGrid.parameters(bits: 4, symmetric: false) + [
      .integer("iterations", 1000, in: 0...1_000_000, "Steps of Adam."),
      .real("learning_rate", 0.01, in: .positive, "Of Adam."),
      .real("regularization", 0.01, in: .nonNegative, "Weight of the term that drives every weight to a side."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        AdaRound(
          uniform: try UniformGrid(arguments), iterations: arguments.integer("iterations"),
          rate: arguments.real("learning_rate"), regularization: arguments.real("regularization"))
      }))
}

extension PackedMatrix {
  /// Scale and zero point of each element, row-major.
  func cells() throws(TemperError) -> [(scale: Float, zero: Float)] {
    let (scales, zeros) = (try self.scales.array(of: Float.self), try self.zeros?.array(of: UInt8.self))
    let groups = self.scales.shape[1]
    let isShared = self.scales.shape[0] != rows
    return (0..<(rows * columns)).map { index in
      let place = (isShared ? 0 : index / columns * groups) + index % columns / groupSize
      return (scales[place], Float(zeros?[place] ?? 0))
    }
  }
}
