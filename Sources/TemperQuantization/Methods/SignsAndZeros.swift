import TemperCatalogue
import TemperCore

/// ±α, or ±α and 0, with the α of least squared error.
///
/// Two levels: α = mean |w|. Three: of the k largest |w|, whose sum is S_k, α = S_k / k with the k that makes S_k² / k
/// largest; that is the share of Σ w² which they explain.
package struct SignsAndZeros: Quantizer {
  package let name: String
  package let codebook: Codebook
  package let granularity: Granularity

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let scales = unsafe try weight.scales(granularity, workers: workers) { values in
      let sizes = unsafe values.map { Double(abs($0)) }
      return Float(codebook == .binary ? SignsAndZeros.mean(sizes) : SignsAndZeros.bestShare(sizes))
    }
    let nearest = try PackedMatrix(
      nearest: weight, grid: Grid(codebook), groupSize: granularity.groupSize(columns: weight.columns), scales: scales,
      zeros: nil, workers: workers)
    // Groups of zeros: their scale was one to divide by.
    let exact = try scales.array(of: Float.self).map { $0 == .leastNormalMagnitude ? 0 : $0 }
    return try QuantizedMatrix(
      PackedMatrix(
        shape: weight.shape, grid: nearest.grid, groupSize: nearest.groupSize,
        scales: try Tensor(exact, shape: scales.shape), zeros: nil, codes: nearest.codes))
  }

  private static func mean(_ sizes: [Double]) -> Double {
    sizes.isEmpty ? 0 : sizes.reduce(0, +) / Double(sizes.count)
  }

  private static func bestShare(_ sizes: [Double]) -> Double {
    var (sum, best, explained) = (0.0, 0.0, 0.0)
    for (place, size) in ascending(sizes).reversed().enumerated() {
      sum += size
      let count = Double(place + 1)
      if sum * sum / count > explained { (best, explained) = (sum / count, sum * sum / count) }
    }
    return best
  }
}

extension SignsAndZeros {
  static let binary = method(
    .binary, "Each weight becomes its sign times its group's mean size.",
    Reference("Rastegari et al.", 2016, "XNOR-Net: ImageNet Classification Using Binary CNNs", arXiv: "1603.05279"))
  static let ternary = method(
    .ternary, "Each weight becomes -a, 0 or a, with the a of its group that misses least.",
    Reference("Li et al.", 2016, "Ternary Weight Networks", arXiv: "1605.04711"))

  private static func method(_ codebook: Codebook, _ summary: String, _ reference: Reference) -> Method {
    Method(
      codebook.name, kind: .quantizer, area: "quant", summary: summary, reference: reference,
      parameters: Granularity.parameters,
      implementation: .component(
        QuantizerMaker { arguments throws(TemperError) in
          SignsAndZeros(name: codebook.name, codebook: codebook, granularity: try Granularity(arguments))
        }))
  }
}
