import TemperCatalogue
import TemperCore
import TemperNetworks

/// Brings the weights of neighbouring layers to like ranges before they are rounded; what the model computes stays.
///
/// Where a channel goes from one layer's row i through an activation with f(s x) = s f(x), s > 0, into the next one's
/// columns i: the row and its bias are divided by s_i, the columns multiplied by it, s_i = √(r₁ᵢ / r₂ᵢ), r the largest
/// sizes. Both ranges then are √(r₁ᵢ r₂ᵢ). Over all such pairs until nothing changes.
package struct CrossLayerEqualization: ModelQuantizer {
  package var name: String { "cross_layer_equalization" }
  package let base: any Quantizer
  let rounds: Int
  package var needsInputs: Bool { base.needsInputs }

  package func pack(
    _ run: ModelRun
  ) throws(TemperError) -> (model: QuantizedModel, reports: [(String, QuantizationReport)]) {
    let copy = try run.copyOfModel()
    try CrossLayerEqualization.equalize(copy, rounds: rounds)
    let changed = try run.over(copy)
    let weights = try changed.packEach(base)
    return (
      try changed.quantized(weights.map { ($0.name, $0.result.matrix) }), weights.map { ($0.name, $0.result.report) }
    )
  }

  static func equalize(_ model: Model, rounds: Int) throws(TemperError) {
    let pairs = try LayerChain(model).positiveNeighbours()
    for _ in 0..<rounds {
      var change: Float = 0
      for pair in pairs {
        guard let first = model.variable("\(pair.first).weight"), let second = model.variable("\(pair.second).weight"),
          let a = first.tensor, let b = second.tensor, first.shape[0] > 0,
          PackedMatrix.columns(of: second.shape) % first.shape[0] == 0, second.isUngrouped
        else { continue }
        let factors = try scale(a, b, bias: model.variable("\(pair.first).bias")?.tensor)
        change = max(change, factors.reduce(0) { max($0, abs($1 - 1)) })
      }
      if change < 1e-4 { break }
    }
  }

  private static func scale(_ first: Tensor, _ second: Tensor, bias: Tensor?) throws(TemperError) -> [Float] {
    var (a, b) = (try first.array(of: Float.self), try second.array(of: Float.self))
    let channels = first.shape[0]
    let (own, columns) = (a.count / channels, PackedMatrix.columns(of: second.shape))
    let block = columns / channels
    var sizes = [(Float, Float)](repeating: (0, 0), count: channels)
    for i in a.indices { sizes[i / own].0 = max(sizes[i / own].0, abs(a[i])) }
    for i in b.indices { sizes[i % columns / block].1 = max(sizes[i % columns / block].1, abs(b[i])) }
    // Channels that are zero on a side stay; factors are within 2^±20.
    let factors = sizes.map { $0 > 0 && $1 > 0 ? min(max(($0 / $1).squareRoot(), 0x1p-20), 0x1p20) : 1 }
    for i in a.indices { a[i] /= factors[i / own] }
    for i in b.indices { b[i] *= factors[i % columns / block] }
    try first.assign(from: try Tensor(a, shape: first.shape))
    try second.assign(from: try Tensor(b, shape: second.shape))
    if let bias {
      let moved = try bias.array(of: Float.self).enumerated().map { $0.element / factors[$0.offset] }
      try bias.assign(from: try Tensor(moved, shape: bias.shape))
    }
    return factors
  }

  static let method = Method(
    "cross_layer_equalization", kind: .quantizer, area: "quant",
    summary: "Brings the channels of neighbouring layers to like ranges, which changes no output, and rounds then.",
    reference: Reference(
      "Nagel et al.", 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
      arXiv: "1906.04721"),
    parameters: BaseMethod.parameters + [.integer("rounds", 50, in: 0...10000, "Passes over all pairs of layers.")],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        CrossLayerEqualization(
          base: try BaseMethod(arguments).quantizer("bits", Double(arguments.integer("bits"))),
          rounds: arguments.integer("rounds"))
      }))
}

extension Variable {
  /// Not the weight of a convolution in groups.
  var isUngrouped: Bool { if case .convolution(let convolution) = use { convolution.groups == 1 } else { true } }
}
