import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// Measures the running statistics of batch normalization anew on the quantized model, layer after layer; where `folds`,
/// normalizations are put into the weights before these are rounded.
///
/// Folding: W' = W γ / √(v + ε) and β' = β + (b − μ) γ / √(v + ε) by channel; the normalization becomes one of mean 0 and
/// variance 1. For the measured statistics it gets |γ| and β back, for the folded weights bring γ's sign with them.
package struct BatchNormReestimation: ModelQuantizer {
  package var name: String { "batch_norm_reestimation" }
  package let base: any Quantizer
  let folds: Bool
  package var needsInputs: Bool { true }

  package func pack(
    _ run: ModelRun
  ) throws(TemperError) -> (model: QuantizedModel, reports: [(String, QuantizationReport)]) {
    let x = try run.samples()
    let copy = try run.copyOfModel()
    let norms = try LayerChain(copy).batchNorms()
    var unfolded: [Int: (weight: [Double], bias: [Double])] = [:]
    if folds {
      for norm in norms where norm.follows { unfolded[norm.index] = try copy.foldBatchNorm(norm.index, norm.epsilon) }
    }
    let changed = try run.over(copy)
    let weights = try changed.packEach(base)
    let result = try changed.quantized(weights.map { ($0.name, $0.result.matrix) })
    for norm in norms {
      if let (weight, bias) = unfolded[norm.index] {
        try result.model.assign("\(norm.index).weight", weight.map { abs($0) })
        try result.model.assign("\(norm.index).bias", bias)
      }
      let (means, variances) = try result.model.channelStatistics(before: norm.index, x, workers: run.workers)
      try result.model.assign("\(norm.index).running_mean", means)
      try result.model.assign("\(norm.index).running_var", variances)
    }
    return (result, weights.map { ($0.name, $0.result.report) })
  }

  static let method = Method(
    "batch_norm_reestimation", aliases: ["batch_norm_refolding"], kind: .quantizer, area: "quant",
    summary: "Folds batch normalization into the weights, rounds, and measures the running statistics anew.",
    reference: Reference(
      "Hubara et al.", 2020,
      "Improving Post Training Neural Quantization: Layer-wise Calibration and Integer Programming",
      arXiv: "2006.10518"),
    parameters: BaseMethod.parameters + [
      .boolean("fold", true, "Put normalizations into the weights before them.")
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        BatchNormReestimation(
          base: try BaseMethod(arguments).quantizer("bits", Double(arguments.integer("bits"))),
          folds: arguments.boolean("fold"))
      }))
}

extension Model {
  func assign(_ name: String, _ values: [Double]) throws(TemperError) {
    guard let tensor = variable(name)?.tensor, tensor.count == values.count else {
      throw TemperError(.unsupported, "\"\(name)\" is not there for its values to be set.")
    }
    try tensor.assign(from: try Tensor(values, shape: tensor.shape))
  }

  private func elements(_ name: String) throws(TemperError) -> [Double]? {
    try variable(name)?.tensor?.array(of: Double.self)
  }

  /// Puts the normalization of layer `index` into the weights of the layer before; gives its scale and bias as they were.
  func foldBatchNorm(
    _ index: Int, _ epsilon: Double
  ) throws(TemperError) -> (weight: [Double], bias: [Double])? {
    guard let gamma = try elements("\(index).weight"), let beta = try elements("\(index).bias"),
      let mean = try elements("\(index).running_mean"), let variance = try elements("\(index).running_var"),
      let weight = variable("\(index - 1).weight")?.tensor, weight.shape[0] == gamma.count
    else { return nil }
    let scales = gamma.indices.map { gamma[$0] / (variance[$0] + epsilon).squareRoot() }
    let own = try elements("\(index - 1).bias")
    let columns = PackedMatrix.columns(of: weight.shape)
    try assign("\(index - 1).weight", try weight.array(of: Double.self).enumerated().map { $1 * scales[$0 / columns] })
    if let own { try assign("\(index - 1).bias", own.map { _ in 0 }) }
    try assign("\(index).weight", gamma.map { _ in 1 })
    try assign("\(index).bias", beta.indices.map { beta[$0] + ((own?[$0] ?? 0) - mean[$0]) * scales[$0] })
    try assign("\(index).running_mean", mean.map { _ in 0 })
    try assign("\(index).running_var", mean.map { _ in 1 - epsilon })
    return (gamma, beta)
  }

  /// Mean and unbiased variance, by channel (the first axis of a sample), of what comes to a layer.
  func channelStatistics(
    before index: Int, _ x: Tensor, workers: Workers
  ) throws(TemperError) -> (means: [Double], variances: [Double]) {
    var (sums, squares, count): ([Double], [Double], Double) = ([], [], 0)
    for start in stride(from: 0, to: x.shape[0], by: Model.calibrationBatch) {
      let part = try prepared(try x.slice(start..<min(start + Model.calibrationBatch, x.shape[0])))
      let output = try output(of: String(index - 1), part, workers: workers)
      let values = try output.array(of: Double.self)
      let channels = output.shape[1]
      let positions = values.count / max(output.shape[0] * channels, 1)
      if sums.isEmpty {
        sums = [Double](repeating: 0, count: channels)
        squares = sums
      }
      for (place, value) in values.enumerated() {
        let channel = place / max(positions, 1) % channels
        (sums[channel], squares[channel]) = (sums[channel] + value, squares[channel] + value * value)
      }
      count += Double(output.shape[0] * positions)
    }
    let means = sums.map { $0 / count }
    let variances = zip(squares, means).map { max($0 - count * $1 * $1, 0) / max(count - 1, 1) }
    return (means, variances)
  }

  /// What layer `path` gives for x, as at inference.
  func output(of path: String, _ x: Tensor, workers: Workers) throws(TemperError) -> Tensor {
    let pass = pass(.inference, mask: mask(of: x))
    let y = forward(.input("x", x.shape, input.kind), pass)
    if let error = y.error { throw error }
    guard let wanted = pass.outputs[path] else {
      throw TemperError(.unsupported, "Layer \(path) leaves no output to measure.")
    }
    return try evaluate([wanted], x, workers: workers).output(0)
  }
}
