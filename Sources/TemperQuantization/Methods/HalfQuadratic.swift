import Glibc
import TemperCatalogue
import TemperCore

/// Zero points that leave few large errors: minimises Σ |w − s (q − z)|^p over z, p < 1, without any data.
///
/// Half-quadratic splitting: e = shrink(w − s (q − z)), with shrink(v) = sign(v) max(|v| − |v|^(p−1) / β, 0); then z is the
/// group's mean of q − (w − e) / s; β grows by κ. The best of all steps by mean |w − ŵ| is kept.
package struct HalfQuadratic: Quantizer {
  package var name: String { "hqq" }
  package let bits: Int
  package let granularity: Granularity
  package let power: Double
  package let strength: Double
  package let growth: Double
  package let iterations: Int

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let size = granularity.groupSize(columns: weight.columns)
    let (minima, maxima) = try weight.ranges(groupSize: size, workers: workers)
    let groups = PackedMatrix.groups(columns: weight.columns, groupSize: size)
    let values = try weight.values.array(of: Float.self)
    var (scales, offsets): ([Float], [Float]) = ([], [])
    func fit(_ indices: [Int], _ low: Float, _ high: Float) {
      let (scale, zero) = solve(indices.map { Double(values[$0]) }, Double(low), Double(high))
      scales.append(scale)
      offsets.append(-scale * zero)
    }
    if granularity == .tensor {
      if groups > 0 { fit(Array(values.indices), minima.min() ?? 0, maxima.max() ?? 0) }
    } else {
      for place in 0..<(weight.rows * groups) {
        let first = place / groups * weight.columns + place % groups * size
        let count = min(size, weight.columns - place % groups * size)
        fit(Array(first..<(first + count)), minima[place], maxima[place])
      }
    }
    return try QuantizedMatrix(
      AffineCodes(nearest: weight, bits: bits, groupSize: size, scales: scales, offsets: offsets, workers: workers))
  }

  private func solve(_ w: [Double], _ low: Double, _ high: Double) -> (scale: Float, zero: Float) {
    let highest = Double((1 << bits) - 1)
    // A constant group has no step: one of any size, from its value on.
    let scale = high > low ? max((high - low) / highest, Double(Float.leastNormalMagnitude)) : 1
    guard high > low else { return (1, Float(-low)) }
    var (zero, beta) = (-low / scale, strength / scale)
    func codes(_ zero: Double) -> [Double] {
      w.map { min(max(($0 / scale + zero).rounded(.toNearestOrEven), 0), highest) }
    }
    func error(_ q: [Double], _ zero: Double) -> Double {
      zip(w, q).reduce(0) { $0 + abs($1.0 - scale * ($1.1 - zero)) }
    }
    var q = codes(zero)
    var (best, least) = (zero, error(q, zero))
    for _ in 0..<iterations {
      var sum = 0.0
      for (value, code) in zip(w, q) {
        let missed = value - scale * (code - zero)
        let size = abs(missed)
        let kept = size == 0 ? 0 : max(size - pow(size, power - 1) / beta, 0)
        sum += code - (value - (missed < 0 ? -kept : kept)) / scale
      }
      zero = sum / Double(w.count)
      beta *= growth
      q = codes(zero)
      let now = error(q, zero)
      if now < least { (best, least) = (zero, now) }
    }
    return (Float(scale), Float(best))
  }
}

extension HalfQuadratic {
  static let method = Method(
    "hqq", kind: .quantizer, area: "quant",
    summary: "Finds zero points that leave few large errors, by half-quadratic splitting, without data.",
    reference: Reference("Badri and Shaji", 2023, "Half-Quadratic Quantization of Large Machine Learning Models"),
    parameters: [
      .integer("bits", 4, in: 1...8, "Bits of a code.")
    ] + Granularity.parameters + [
      .real("p", 0.7, in: Interval(0, 1, includesLower: false, includesUpper: false), "Power of the errors' sizes."),
      .real("beta", 10, in: .positive, "Strength of the splitting, for errors in steps of the grid."),
      .real("kappa", 1.01, in: Interval(1, 2), "By what beta grows in each iteration."),
      .integer("iterations", 20, in: 0...10000, "Steps."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        HalfQuadratic(
          bits: arguments.integer("bits"), granularity: try Granularity(arguments), power: arguments.real("p"),
          strength: arguments.real("beta"), growth: arguments.real("kappa"),
          iterations: arguments.integer("iterations"))
      }))
}
