import Glibc
import TemperCore

/// What packing a weight cost and saved.
package struct QuantizationReport: Sendable, Hashable {
  package let shape: Shape
  /// Of a code.
  package let bits: Int
  /// Codes, scales and zero points.
  package let byteCount: Int
  /// Of the same weight in float32.
  package let floatByteCount: Int
  /// Mean of (w − ŵ)².
  package let meanSquaredError: Double
  package let largestError: Double
  /// Σ (w − ŵ)² / Σ w²; 0 where both are 0.
  package let relativeError: Double
  /// Σ (y − ŷ)² / Σ y² of the layer's products with its calibration inputs; nil without such inputs.
  package let outputError: Double?

  /// Signal-to-quantization-noise ratio in decibels.
  package var signalToNoise: Double { -10 * log10(relativeError) }
  /// Bits for each weight, scales and zero points included.
  package var effectiveBits: Double { shape.count == 0 ? 0 : 8 * Double(byteCount) / Double(shape.count) }
}

extension PackedMatrix {
  func report(of weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizationReport {
    var (error, energy, largest) = (0.0, 0.0, 0.0)
    for row in rowErrors(of: weight, workers: workers) {
      (error, energy) = (error + row.squared_error, energy + row.squared_weight)
      largest = max(largest, row.largest_error)
    }
    return QuantizationReport(
      shape: shape, bits: bits, byteCount: byteCount, floatByteCount: 4 * shape.count,
      meanSquaredError: error / Double(max(shape.count, 1)), largestError: largest,
      relativeError: error == 0 ? 0 : error / energy, outputError: try outputError(of: weight, inputs, workers))
  }

  /// tr(D G Dᵀ) / tr(W G Wᵀ) with D = W − Ŵ, G = Σ x xᵀ.
  private func outputError(
    of weight: Weight, _ inputs: InputStatistics?, _ workers: Workers
  ) throws(TemperError) -> Double? {
    guard let inputs else { return nil }
    let decoded = try dequantize(workers: workers).reshaped([rows, columns])
    var (error, energy) = (0.0, 0.0)
    for start in stride(from: 0, to: rows, by: 256) {
      let range = start..<min(start + 256, rows)
      let original = try weight.values.slice(range).array(of: Double.self)
      let packed = try decoded.slice(range).array(of: Double.self)
      let shape: Shape = [range.count, columns]
      error += try inputs.energy(of: try Tensor(zip(original, packed).map { $0 - $1 }, shape: shape), workers: workers)
      energy += try inputs.energy(of: try Tensor(original, shape: shape), workers: workers)
    }
    return error == 0 ? 0 : error / energy
  }
}

extension InputStatistics {
  /// Σ over inputs and rows of (row · x)², for float64 `rows` (…, columns).
  func energy(of rows: Tensor, workers: Workers) throws(TemperError) -> Double {
    let product = try Tensor(zeros: rows.shape, .float64)
    try MatrixProduct.run(rows, gram, into: product, workers: workers)
    let terms = zip(try rows.array(of: Double.self), try product.array(of: Double.self))
    return max(terms.reduce(0) { $0 + $1.0 * $1.1 }, 0)
  }
}
