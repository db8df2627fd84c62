import TemperCatalogue
import TemperCore

/// Rounds each row weight by weight, always the one that costs the outputs least; the others of the row make up for it.
///
/// With F = H⁻¹ over the weights left: round p = argmin (w_p − q_p)² / F_pp, then w −= (w_p − q_p) / F_pp · F_p and
/// F −= F_p F_pᵀ / F_pp. A step costs columns², so a row costs columns³: for small layers. A row whose outputs would miss
/// less rounded to nearest, which damping and greed can bring about, is rounded so.
package struct OptimalBrain: Quantizer {
  package var name: String { "optimal_brain_quantization" }
  package let uniform: UniformGrid
  package let damping: Double
  package var needsInputs: Bool { true }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let nearest = try uniform.nearest(weight, workers: workers)
    guard let inputs, weight.columns > 0 else { return try QuantizedMatrix(nearest) }
    let inverse = try inputs.inverse(damping: damping, workers: workers)
    let values = try weight.values.array(of: Float.self).map(Double.init)
    let scales = try nearest.scales.array(of: Float.self).map(Double.init)
    let zeros = try nearest.zeros?.array(of: UInt8.self).map(Double.init)
    let n = weight.columns
    let gram = try inputs.gram.array(of: Double.self)
    let plain = try nearest.looseCodes(workers: workers).array(of: UInt8.self)
    let codes = try Tensor(zeros: [weight.rows, n], .uint8)
    let target = unsafe codes.pointer.assumingMemoryBound(to: UInt8.self)
    let (size, groups) = (nearest.groupSize, nearest.scales.shape[1])
    let isShared = nearest.scales.shape[0] != weight.rows
    workers.run(weight.rows) { row, _ in
      func value(_ column: Int, _ level: Double) -> Double {
        level * scales[(isShared ? 0 : row * groups) + column / size]
      }
      func first(_ column: Int) -> Double {
        Double(uniform.grid.firstLevel) - (zeros?[(isShared ? 0 : row * groups) + column / size] ?? 0)
      }
      /// (w − q)ᵀ G (w − q)
      func missed(_ codes: [UInt8]) -> Double {
        let errors = (0..<n).map { (column: Int) -> Double in
          values[row * n + column] - value(column, first(column) + Double(codes[column]))
        }
        var sum = 0.0
        for i in 0..<n {
          var product = 0.0
          for j in 0..<n { product += gram[i * n + j] * errors[j] }
          sum += errors[i] * product
        }
        return sum
      }
      let found = round(Array(values[(row * n)..<(row * n + n)]), inverse) { column, wanted in
        let first = first(column)
        let (low, high) = (first + Double(uniform.grid.lowestCode), first + Double(uniform.grid.highestCode))
        let level = min(max((wanted / value(column, 1)).rounded(.toNearestOrEven), low), high)
        return (UInt8(level - first), value(column, level))
      }
      let simple = Array(plain[(row * n)..<(row * n + n)])
      let kept = missed(simple) < missed(found) ? simple : found
      for column in 0..<n { unsafe target[row * n + column] = kept[column] }
    }
    return try QuantizedMatrix(
      PackedMatrix(
        shape: weight.shape, grid: uniform.grid, groupSize: size, scales: nearest.scales, zeros: nearest.zeros,
        looseCodes: codes, workers: workers))
  }

  private func round(
    _ row: [Double], _ inverse: [Double], _ level: (Int, Double) -> (code: UInt8, value: Double)
  ) -> [UInt8] {
    let n = row.count
    var (w, f, left) = (row, inverse, Array(0..<n))
    var codes = [UInt8](repeating: 0, count: n)
    while !left.isEmpty {
      var (place, least) = (0, Double.infinity)
      for (index, column) in left.enumerated() {
        let missed = w[column] - level(column, w[column]).value
        let cost = missed * missed / f[column * n + column]
        if cost < least { (place, least) = (index, cost) }
      }
      let chosen = left.remove(at: place)
      let rounded = level(chosen, w[chosen])
      codes[chosen] = rounded.code
      let pivot = f[chosen * n + chosen]
      let step = (w[chosen] - rounded.value) / pivot
      for column in left { w[column] -= step * f[chosen * n + column] }
      for i in left {
        let factor = f[i * n + chosen] / pivot
        for j in left { f[i * n + j] -= factor * f[chosen * n + j] }
      }
    }
    return codes
  }

  static let method = Method(
    "optimal_brain_quantization", aliases: ["obq"], kind: .quantizer, area: "quant",
    summary:
      "Rounds the weight that costs least, lets the others of its row make up for it, and so on; for small layers.",
    reference: Reference(
      "Frantar and Alistarh", 2022,
      "Optimal Brain Compression: A Framework for Accurate Post-Training Quantization and Pruning",
      arXiv: "2208.11580"),
    parameters: UniformGrid.parameters(bits: 4, symmetric: false) + [
      .real(
        "percdamp", 0.01, in: .positive, "Added to the diagonal of the inputs' second moments, in parts of its mean.")
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        OptimalBrain(uniform: try UniformGrid(arguments), damping: arguments.real("percdamp"))
      }))
}

extension InputStatistics {
  /// (G + damping · mean of its diagonal)⁻¹, row-major: L⁻ᵀ L⁻¹.
  func inverse(damping: Double, workers: Workers) throws(TemperError) -> [Double] {
    let n = columns
    let mean = try diagonal().reduce(0, +) / Double(max(n, 1))
    let matrix = try gram.gathered(
      rowsAndColumns: Array(0..<n), addingToDiagonal: mean > 0 ? damping * mean : 1, workers: workers)
    guard try Cholesky.factor(matrix, workers: workers) else {
      throw TemperError(
        .outOfRange,
        "The calibration inputs depend on each other too much for a damping of \(damping); increase percdamp.")
    }
    let l = try matrix.array(of: Double.self)
    // Column by column, L y = unit.
    var lower = [Double](repeating: 0, count: n * n)
    for column in 0..<n {
      lower[column * n + column] = 1 / l[column * n + column]
      for row in (column + 1)..<max(n, column + 1) {
        var sum = 0.0
        for k in column..<row { sum -= l[row * n + k] * lower[k * n + column] }
        lower[row * n + column] = sum / l[row * n + row]
      }
    }
    let inverse = try Tensor(zeros: [n, n], .float64)
    let factor = try Tensor(lower, shape: [n, n])
    try MatrixProduct.run(try factor.permuted([1, 0]), factor, into: inverse, workers: workers)
    return try inverse.array(of: Double.self)
  }
}
