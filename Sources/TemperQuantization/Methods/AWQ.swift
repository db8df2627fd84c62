import Glibc
import TemperCatalogue
import TemperCore

/// Inputs that are large on average get finer weights: W s is rounded and the inputs are divided by s,
/// s_j = (mean |x_j|)^α up to a factor, with the α of 0, 1/20, …, 1 whose outputs miss least. α = 0 leaves the weights as
/// they are, so the outputs are never further off than those of rounding alone.
package struct AWQ: Quantizer {
  package var name: String { "awq" }
  package let uniform: UniformGrid
  package let steps: Int
  package var needsInputs: Bool { true }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    guard let inputs, weight.columns > 0 else { return try QuantizedMatrix(uniform.nearest(weight, workers: workers)) }
    let sizes = inputs.absoluteSums.map { $0 / Double(max(inputs.samples, 1)) }
    let values = try weight.values.array(of: Float.self)
    var best = try QuantizedMatrix(uniform.nearest(weight, workers: workers))
    var least = try inputs.error(values, best.dequantize(workers: workers).array(of: Float.self), workers: workers)
    for step in 1...steps {
      guard let scales = AWQ.scales(sizes, power: Double(step) / Double(steps)) else { break }
      let candidate = try scaled(weight, values, by: scales, workers: workers)
      let error = try inputs.error(
        values, candidate.dequantize(workers: workers).array(of: Float.self), workers: workers)
      if error < least { (best, least) = (candidate, error) }
    }
    return best
  }

  /// size^power, its largest and smallest values as far above as below 1; an input that is always zero counts like the
  /// smallest other. nil where all are zero.
  private static func scales(_ sizes: [Double], power: Double) -> [Float]? {
    guard let smallest = sizes.filter({ $0 > 0 }).min(), let largest = sizes.max() else { return nil }
    // In logarithms, within 2^±30 of the middle: no product leaves the numbers of float32.
    let middle = power * (log2(smallest) + log2(largest)) / 2
    return sizes.map { Float(exp2(min(max(power * log2(max($0, smallest)) - middle, -30), 30))) }
  }

  private func scaled(
    _ weight: Weight, _ values: [Float], by scales: [Float], workers: Workers
  ) throws(TemperError) -> QuantizedMatrix {
    let larger = values.indices.map { values[$0] * scales[$0 % weight.columns] }
    return try QuantizedMatrix(
      uniform.nearest(try weight.replacing(larger), workers: workers),
      Adjustment(inputScales: try Tensor(scales.map { 1 / $0 })))
  }
}

extension AWQ {
  static let method = Method(
    "awq", kind: .quantizer, area: "quant",
    summary: "Scales up the weights of large inputs before rounding, by the power that costs the outputs least.",
    reference: Reference(
      "Lin et al.", 2023, "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration",
      arXiv: "2306.00978"),
    parameters: UniformGrid.parameters(bits: 4, symmetric: false) + [
      .integer("steps", 20, in: 1...1000, "Powers tried between 0 and 1.")
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        AWQ(uniform: try UniformGrid(arguments), steps: arguments.integer("steps"))
      }))
}

/// Moves part of the inputs' spread into the weights, so that both are easy to round: the inputs are divided by
/// s_j = max |x_j|^α / max |w_j|^(1−α), the weights are multiplied by it.
package struct SmoothQuant: Quantizer {
  package var name: String { "smoothquant" }
  package let uniform: UniformGrid
  package let alpha: Double
  /// Of the inputs; nil leaves them floats.
  package let inputBits: Int?
  package var needsInputs: Bool { true }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    guard let inputs, weight.columns > 0 else { return try QuantizedMatrix(uniform.nearest(weight, workers: workers)) }
    _ = try weight.ranges(groupSize: weight.columns, workers: workers)
    let values = try weight.values.array(of: Float.self)
    // The positions of a convolution's window see the same inputs: they share the factor of their channel.
    let window = weight.shape.rank > 2 ? weight.columns / max(weight.shape[1], 1) : 1
    var largest = [Double](repeating: 0, count: weight.columns / window)
    var seen = largest
    for index in values.indices {
      let channel = index % weight.columns / window
      largest[channel] = max(largest[channel], Double(abs(values[index])))
    }
    for (column, x) in inputs.largest.enumerated() { seen[column / window] = max(seen[column / window], x) }
    let scales = (0..<weight.columns).map { column -> Float in
      let (x, w) = (seen[column / window], largest[column / window])
      guard x > 0, w > 0 else { return 1 }
      return Float(exp2(min(max(alpha * log2(x) - (1 - alpha) * log2(w), -30), 30)))
    }
    let larger = values.indices.map { values[$0] * scales[$0 % weight.columns] }
    let bound = zip(inputs.largest, scales).reduce(0.0) { max($0, $1.0 / Double($1.1)) }
    let grid = try inputBits.map { bits throws(TemperError) in try InputGrid(bits: bits, -bound, bound) }
    return try QuantizedMatrix(
      uniform.nearest(try weight.replacing(larger), workers: workers),
      Adjustment(inputScales: try Tensor(scales.map { 1 / $0 }), inputGrid: grid))
  }
}

extension SmoothQuant {
  static let method = Method(
    "smoothquant", kind: .quantizer, area: "quant",
    summary: "Divides each input by a factor that its weights take over, so that both have even ranges.",
    reference: Reference(
      "Xiao et al.", 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
      arXiv: "2211.10438"),
    parameters: UniformGrid.parameters(bits: 8, symmetric: true) + [
      .real("alpha", 0.5, in: .unit, "Share of the inputs' spread that moves into the weights."),
      .integer("bits_a", 8, in: 1...16, "Bits of the inputs; none leaves them floats.").orNone,
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        SmoothQuant(
          uniform: try UniformGrid(arguments), alpha: arguments.real("alpha"),
          inputBits: arguments.optionalInteger("bits_a"))
      }))
}
