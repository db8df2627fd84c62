import Glibc
import TemperCatalogue
import TemperCore

/// A number of bits for each column, in closed form: column j of R_j bits costs the outputs c_j 2^(−2 R_j).
///
/// For a given mean of R_j the least sum has all costs alike: R_j = R + ½ log₂(c_j / geometric mean of c); columns that
/// come out below zero get none, and the rest is shared again (reverse water-filling). Whole bits: the floors, then one bit
/// after the other where it lowers the sum most. Then columns are rounded with error feedback (GPTQ), with 2^(R_j) levels
/// from each row's minimum to its maximum; a column of no bits holds the row's mean.
/// c_j = Σ over rows of (max − min)² / 12 · R_jj², R_jj as in `ColumnFeedback`.
package struct BitAllocation: Quantizer {
  package var name: String { "baq_bit_allocation" }
  package let targetBits: Double
  package let damping: Double
  package var needsInputs: Bool { true }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let (rows, n) = (weight.rows, weight.columns)
    let (minima, maxima) = try weight.ranges(groupSize: max(n, 1), workers: workers)
    let values = try weight.values.array(of: Float.self)
    let ranges = (0..<(n == 0 ? 0 : rows)).flatMap { row -> [Float] in
      let part = values[(row * n)..<(row * n + n)]
      // The largest and smallest value themselves: `ranges` of a grid reach to zero.
      let mean = part.reduce(0.0) { $0 + Double($1) } / Double(n)
      return [part.min() ?? minima[row], part.max() ?? maxima[row], Float(mean)]
    }
    guard let inputs, n > 0 else { return try widths(weight, ranges, values, [UInt8](repeating: 8, count: n), workers) }
    let feedback = try inputs.feedback(damping: damping, order: Array(0..<n), workers: workers)
    let spread = (0..<rows).reduce(0.0) { sum, row in
      let range = Double(ranges[3 * row + 1]) - Double(ranges[3 * row])
      return sum + range * range / 12
    }
    let costs = feedback.diagonal.map { spread * $0 * $0 }
    let bits = BitAllocation.wholeBits(costs, mean: targetBits, most: 8)
    let rounded = unsafe try feedback.eachColumn(of: weight, workers: workers) { row, column, value in
      let range = (ranges[3 * row], ranges[3 * row + 1], ranges[3 * row + 2])
      guard bits[column] > 0 else { return range.2 }
      let step = MixedColumns.step(range.0, range.1, bits: bits[column])
      let highest = Float((1 << bits[column]) - 1)
      let level = ((value - range.0) / step).rounded(.toNearestOrEven)
      return range.0 + step * min(max(level, 0), highest)
    }
    return try widths(weight, ranges, rounded, bits.map { UInt8($0) }, workers)
  }

  /// The matrix whose values are `rounded`, to their nearest levels.
  private func widths(
    _ weight: Weight, _ ranges: [Float], _ rounded: [Float], _ bits: [UInt8], _ workers: Workers
  ) throws(TemperError) -> QuantizedMatrix {
    let n = weight.columns
    let codes = rounded.indices.map { index -> UInt8 in
      let (row, column) = (index / n, index % n)
      guard bits[column] > 0 else { return 0 }
      let step = MixedColumns.step(ranges[3 * row], ranges[3 * row + 1], bits: Int(bits[column]))
      let level = ((rounded[index] - ranges[3 * row]) / step).rounded(.toNearestOrEven)
      return UInt8(min(max(level, 0), Float((1 << Int(bits[column])) - 1)))
    }
    let all = n == 0 ? [Float](repeating: 0, count: 3 * weight.rows) : ranges
    return try QuantizedMatrix(
      MixedColumns(
        shape: weight.shape, widths: try Tensor(bits), ranges: try Tensor(all, shape: [weight.rows, 3]),
        looseCodes: try Tensor(codes, shape: [weight.rows, n]), workers: workers))
  }
}

extension BitAllocation {
  /// The real numbers of bits of least Σ c_j 2^(−2 R_j) whose mean is `mean`.
  package static func realBits(_ costs: [Double], mean: Double) -> [Double] {
    var bits = [Double](repeating: 0, count: costs.count)
    var active = costs.indices.filter { costs[$0] > 0 }
    let total = mean * Double(costs.count)
    while !active.isEmpty {
      let middle = active.reduce(0.0) { $0 + log2(costs[$1]) } / Double(active.count)
      let share = total / Double(active.count)
      let wanted = active.map { (column: $0, bits: share + (log2(costs[$0]) - middle) / 2) }
      if wanted.allSatisfy({ $0.bits >= 0 }) {
        for (column, value) in wanted { bits[column] = value }
        break
      }
      active = wanted.filter { $0.bits >= 0 }.map(\.column)
    }
    return bits
  }

  /// Whole numbers up to `most` whose sum is that of the mean, rounded down.
  package static func wholeBits(_ costs: [Double], mean: Double, most: Int) -> [Int] {
    var bits = realBits(costs, mean: mean).map { min(max(Int($0.rounded(.down)), 0), most) }
    var left = Int((mean * Double(costs.count)).rounded(.down)) - bits.reduce(0, +)
    /// What the next bit saves.
    func saving(_ column: Int) -> Double { costs[column] * exp2(-2 * Double(bits[column])) * 0.75 }
    while left > 0 {
      var best: Int?
      for column in bits.indices where bits[column] < most {
        if best.map({ saving(column) > saving($0) }) ?? true { best = column }
      }
      guard let best else { break }
      bits[best] += 1
      left -= 1
    }
    return bits
  }

  static let method = Method(
    "baq_bit_allocation", aliases: ["baq"], kind: .quantizer, area: "quant",
    summary: "Shares a mean number of bits out over the columns in closed form, then rounds with error feedback.",
    reference: Reference(
      title: "BAQ: Efficient Bit Allocation Quantization for Large Language Models", arXiv: "2506.05664"),
    parameters: [
      .real("target_bits", 3, in: Interval(0, 8), "Mean bits of a column.").named(also: "bits"),
      .real(
        "percdamp", 0.01, in: .positive, "Added to the diagonal of the inputs' second moments, in parts of its mean."),
      .choice("group", ["column"], "What has a number of bits of its own."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        BitAllocation(targetBits: arguments.real("target_bits"), damping: arguments.real("percdamp"))
      }))
}
