import Glibc
import TemperCore

/// What packing a weight cost and saved.
package struct QuantizationReport: Sendable, Hashable {
  package let shape: Shape
  /// Of a code.
  package let bits: Double
  /// Codes, scales and zero points.
  package let byteCount: Int
  /// Of the same weight in float32.
  package let floatByteCount: Int
  /// Mean of (w − ŵ)².
  package let meanSquaredError: Double
  package let largestError: Double
  /// Σ (w − ŵ)² / Σ w²; 0 where both are 0.
  package let relativeError: Double
  /// Σ (y − ŷ)² / Σ y² of the layer's products with its calibration inputs, of what the weights miss; nil without such
  /// inputs.
  package let outputError: Double?

  /// Signal-to-quantization-noise ratio in decibels.
  package var signalToNoise: Double { -10 * log10(relativeError) }
  /// Bits for each weight, scales and zero points included.
  package var effectiveBits: Double { shape.count == 0 ? 0 : 8 * Double(byteCount) / Double(shape.count) }
}

extension QuantizedMatrix {
  /// Rows that are looked at together: many where they are multiplied, else few for the memory that they take.
  private func rowsOfBlock(_ inputs: InputStatistics?) -> Int {
    inputs == nil ? max(1, (1 << 16) / max(columns, 1)) : 1024
  }

  func report(of weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizationReport {
    if let packed, inputs == nil { return packed.report(of: weight, workers: workers) }
    let means = inputs?.means
    let offsets = try adjustment.offsets?.array(of: Double.self)
    var (error, energy, largest, lost, had) = (0.0, 0.0, 0.0, 0.0, 0.0)
    let step = rowsOfBlock(inputs)
    for start in stride(from: 0, to: rows, by: step) {
      let range = start..<min(start + step, rows)
      let original = try weight.values.slice(range)
      let packed = try dequantize(rows: range, workers: workers)
      var difference = [Double](repeating: 0, count: inputs == nil ? 0 : packed.count)
      let (exact, rounded) = unsafe (
        original.pointer.assumingMemoryBound(to: Float.self), packed.pointer.assumingMemoryBound(to: Float.self)
      )
      for place in 0..<packed.count {
        let value = unsafe Double(exact[place])
        let missed = unsafe value - Double(rounded[place])
        (error, energy) = (error + missed * missed, energy + value * value)
        largest = max(largest, abs(missed))
        if inputs != nil { difference[place] = missed }
      }
      withExtendedLifetime((original, packed)) {}
      guard let inputs, let means else { continue }
      let shape: Shape = [range.count, columns]
      lost += try inputs.energy(of: try Tensor(difference, shape: shape), workers: workers)
      had += try inputs.energy(of: try original.copy(as: .float64), workers: workers)
      guard let offsets else { continue }
      // Σ (d · x − o)² = Σ (d · x)² − 2 o d · Σ x + n o²
      for row in range {
        let place = (row - start) * columns
        let mean = (0..<columns).reduce(0.0) { $0 + difference[place + $1] * means[$1] }
        lost += Double(inputs.samples) * offsets[row] * (offsets[row] - 2 * mean)
      }
    }
    return QuantizationReport(
      shape: shape, bits: bits, byteCount: byteCount, floatByteCount: 4 * shape.count,
      meanSquaredError: error / Double(max(shape.count, 1)), largestError: largest,
      relativeError: error == 0 ? 0 : error / energy,
      outputError: inputs == nil ? nil : lost <= 0 ? 0 : lost / had)
  }
}

extension PackedMatrix {
  /// Straight from the codes.
  fileprivate func report(of weight: Weight, workers: Workers) -> QuantizationReport {
    var (error, energy, largest) = (0.0, 0.0, 0.0)
    for row in rowErrors(of: weight, workers: workers) {
      (error, energy) = (error + row.squared_error, energy + row.squared_weight)
      largest = max(largest, row.largest_error)
    }
    return QuantizationReport(
      shape: shape, bits: bits, byteCount: byteCount, floatByteCount: 4 * shape.count,
      meanSquaredError: error / Double(max(shape.count, 1)), largestError: largest,
      relativeError: error == 0 ? 0 : error / energy, outputError: nil)
  }
}
