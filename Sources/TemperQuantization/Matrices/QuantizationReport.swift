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

  /// Signal-to-quantization-noise ratio in decibels.
  package var signalToNoise: Double { -10 * log10(relativeError) }
  /// Bits for each weight, scales and zero points included.
  package var effectiveBits: Double { shape.count == 0 ? 0 : 8 * Double(byteCount) / Double(shape.count) }
}

extension PackedMatrix {
  func report(of weight: Weight, workers: Workers) -> QuantizationReport {
    var (error, energy, largest) = (0.0, 0.0, 0.0)
    for row in rowErrors(of: weight, workers: workers) {
      (error, energy) = (error + row.squared_error, energy + row.squared_weight)
      largest = max(largest, row.largest_error)
    }
    return QuantizationReport(
      shape: shape, bits: bits, byteCount: byteCount, floatByteCount: 4 * shape.count,
      meanSquaredError: error / Double(max(shape.count, 1)), largestError: largest,
      relativeError: error == 0 ? 0 : error / energy)
  }
}
