import TemperCatalogue
import TemperCore

/// Levels found for one weight: those of least squared error over all values in units of their scales, each value counted
/// by its scale's square, and by how large its input is where inputs are known.
///
/// Lloyd's steps never raise that error. They start from even levels and from quantiles; the better end is kept, so the
/// result is never worse than even levels under the same scales.
package struct KMeans: Quantizer {
  package var name: String { "kmeans" }
  package let bits: Int
  package let granularity: Granularity
  package let iterations: Int

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let scales = unsafe try weight.scales(granularity, workers: workers) { values in
      unsafe values.reduce(0) { max($0, abs($1)) }
    }
    let points = try KMeans.points(weight, scales, granularity.groupSize(columns: weight.columns), inputs)
    let sorted = SortedPoints(points)
    let size = 1 << bits
    let even = (0..<size).map { -1 + 2 * Double($0) / Double(size - 1) }
    // The levels of a symmetric grid with one more.
    let symmetric = bits > 1 ? (0..<size).map { (Double($0) - Double(size / 2)) / Double(size / 2 - 1) } : even
    let levels =
      [even, symmetric, sorted.quantiles(size)]
      .map { sorted.improved($0, iterations: iterations) }
      .min { $0.error < $1.error }?.levels ?? even
    // A table has a positive level even for weights that are all zero.
    let table = try Codebook(learned: (levels.contains { $0 > 0 } ? levels : even).map { Float($0) })
    return try QuantizedMatrix(
      PackedMatrix(
        nearest: weight, grid: Grid(table), groupSize: granularity.groupSize(columns: weight.columns), scales: scales,
        zeros: nil, workers: workers))
  }

  private static func points(
    _ weight: Weight, _ scales: Tensor, _ groupSize: Int, _ inputs: InputStatistics?
  ) throws(TemperError) -> [(value: Double, weight: Double)] {
    let values = try weight.values.array(of: Float.self)
    let scale = try scales.array(of: Float.self).map(Double.init)
    let activity = try inputs?.diagonal()
    let groups = scales.shape[1]
    let isShared = scales.shape[0] != weight.rows
    return values.indices.map { index in
      let (row, column) = (index / weight.columns, index % weight.columns)
      let size = scale[(isShared ? 0 : row * groups) + column / groupSize]
      return (Double(values[index]) / size, size * size * (activity?[column] ?? 1))
    }
  }
}

/// Weighted points on a line in order, with running sums, so that a cell between two thresholds costs nothing to sum.
struct SortedPoints {
  private let values: [Double]
  /// Σ weight, Σ weight · value and Σ weight · value² of the points before each.
  private var sums: [(count: Double, first: Double, second: Double)]

  init(_ points: [(value: Double, weight: Double)]) {
    let sorted = points.sorted { $0.value < $1.value }
    values = sorted.map(\.value)
    sums = [(0, 0, 0)]
    sums.reserveCapacity(sorted.count + 1)
    var (count, first, second) = (0.0, 0.0, 0.0)
    for (value, weight) in sorted {
      (count, first, second) = (count + weight, first + weight * value, second + weight * value * value)
      sums.append((count, first, second))
    }
  }

  /// The values in the middle of `size` parts of equal weight.
  func quantiles(_ size: Int) -> [Double] {
    let total = sums[values.count].count
    return (0..<size).map { part in
      let place = firstPlace { sums[$0 + 1].count >= total * (Double(part) + 0.5) / Double(size) }
      return values.isEmpty ? 0 : values[min(place, values.count - 1)]
    }
  }

  /// The first index of a value for which `holds`, which holds for all after it.
  private func firstPlace(_ holds: (Int) -> Bool) -> Int {
    var (low, high) = (0, values.count)
    while low < high {
      let middle = (low + high) / 2
      if holds(middle) { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// Lloyd's steps: each level becomes the mean of the values nearest to it; a level that none is nearest to stays.
  func improved(_ start: [Double], iterations: Int) -> (levels: [Double], error: Double) {
    var levels = ascending(start)
    var error = Double.infinity
    for _ in 0...iterations {
      var places = [0]
      for (a, b) in zip(levels, levels.dropFirst()) { places.append(firstPlace { values[$0] > (a + b) / 2 }) }
      places.append(values.count)
      var (next, now) = (levels, 0.0)
      for index in levels.indices {
        let (from, to) = (sums[places[index]], sums[places[index + 1]])
        let (count, first, second) = (to.count - from.count, to.first - from.first, to.second - from.second)
        now += max(second - 2 * levels[index] * first + levels[index] * levels[index] * count, 0)
        if count > 0 { next[index] = first / count }
      }
      guard now < error else { break }
      error = now
      levels = ascending(next)
    }
    return (levels, error)
  }
}

extension KMeans {
  static let method = Method(
    "kmeans", kind: .quantizer, area: "quant",
    summary: "A table of levels of its own for the weight, by k-means over its scaled values.",
    reference: Reference(
      "Han et al.", 2015,
      "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and Huffman Coding",
      arXiv: "1510.00149"),
    parameters: [
      .integer("bits", 4, in: 1...8, "Bits of a code."),
      .integer("iterations", 100, in: 0...100000, "Lloyd's steps at most."),
    ] + Granularity.parameters,
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        KMeans(
          bits: arguments.integer("bits"), granularity: try Granularity(arguments),
          iterations: arguments.integer("iterations"))
      }))
}
