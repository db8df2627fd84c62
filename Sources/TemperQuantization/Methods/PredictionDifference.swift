import TemperCatalogue
import TemperCore
import TemperNetworks

/// Learns block after block how weights and inputs are rounded, such that the block's outputs and the model's prediction
/// stay: |B_q(x) − B(x')|² + KL(softmax(o / T) ‖ softmax(o_q / T)) / λ_r + ρ Σ (1 − |2h − 1|^β).
///
/// x mixes inputs from rounded and from float layers, element by element; so do the rounded inputs of every product. o_q
/// is what the float layers behind the block make of its outputs. x' are the float inputs after `DistributionCorrection`.
/// The first and the last block have more bits.
package struct PredictionDifference: ModelQuantizer {
  package var name: String { "pd_quant" }
  let tuning: BlockTuning
  let correction: DistributionCorrection
  let endBits: Int
  let samples: Int
  package var needsInputs: Bool { true }

  init(_ arguments: Arguments) {
    tuning = BlockTuning(arguments, prediction: arguments.optionalReal("lam_r"))
    correction = DistributionCorrection(
      weight: arguments.real("lam_c"), iterations: arguments.integer("correction_iters"), rate: 1e-3)
    endBits = arguments.integer("end_bits")
    samples = arguments.integer("calib")
  }

  /// Without a model there is no prediction: the rounding of one layer.
  package var base: any Quantizer { get throws(TemperError) { try tuning.alone } }

  package func pack(
    _ run: ModelRun
  ) throws(TemperError) -> (model: QuantizedModel, reports: [(String, QuantizationReport)]) {
    let stage = try BlockRun(run)
    let x = try run.inputRows(atMost: samples)
    let all = 0..<stage.model.description.layers.count
    let logits = try stage.outputs(all, x, isPacked: false)
    var (rounded, float) = (x, x)
    try stage.packBlocks { index, block throws(TemperError) in
      let first = block.layers.lowerBound
      if first > 0 {
        rounded = try stage.outputs(0..<first, x, isPacked: true)
        float = try stage.outputs(0..<first, x, isPacked: false)
      }
      let moved = try correction.corrected(float, block, stage)
      let target = try stage.outputs(block.layers, moved, isPacked: false)
      return try tuning.of(index, stage, endBits).pack(
        block, index, stage, .init(rounded: rounded, float: moved, target: target, logits: logits))
    }
    return try stage.result()
  }

  static let method = Method(
    "pd_quant", kind: .quantizer, area: "quant",
    summary: "Learns block after block how to round, so that the block's outputs and the model's prediction stay.",
    reference: Reference(
      "Liu et al.", 2022, "PD-Quant: Post-Training Quantization based on Prediction Difference Metric",
      arXiv: "2212.07048"),
    parameters: BlockTuning.parameters + [
      .real("lam_r", 0.1, in: .positive, "The prediction counts 1 over this; none leaves it out.").orNone,
      .real("T", 4, in: .positive, "Temperature of predictions.").named(also: "temperature"),
      .real("lam_c", 0.02, in: .positive, "Corrected inputs stay near, 1 over this much."),
      .integer("correction_iters", 500, in: 0...1_000_000, "Steps of the correction of inputs."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in PredictionDifference(arguments) }))
}

extension BlockTuning {
  static let parameters: [Parameter] = [
    .integer("bits", 4, in: 2...8, "Bits of a weight."),
    .integer("bits_a", 8, in: 1...16, "Bits of an input; none leaves inputs floats.").orNone,
    .integer("end_bits", 8, in: 2...8, "Bits of the first and the last block, if more."),
    .real("round_weight", 0.01, in: .nonNegative, "Of the term that drives every weight to a side."),
    .real("warmup", 0.2, in: .belowOne, "Part of the iterations without that term."),
    .real("drop_prob", 0.5, in: .unit, "Share of inputs that are not rounded while it learns."),
    .integer("iters", 1000, in: 0...1_000_000, "Steps for each block; 20000 in the paper."),
    .integer("batch", 32, in: 1...4096, "Samples of a step."),
    .integer("calib", 1024, in: 1...(1 << 24), "Samples looked at, of all that came."),
    .real("lr_round", 3e-3, in: .nonNegative, "Learning rate of the rounding."),
    .real("lr_step", 4e-5, in: .nonNegative, "Learning rate of the inputs' steps."),
    .integer("seed", 0, in: 0...(.max), "Of batches and of what is left out."),
  ]

  init(_ arguments: Arguments, prediction: Double?) {
    let hasTemperature = arguments.values["T"] != nil
    self.init(
      bits: arguments.integer("bits"), inputBits: arguments.optionalInteger("bits_a"),
      predictionWeight: prediction.map { 1 / $0 }, temperature: hasTemperature ? arguments.real("T") : 1,
      roundWeight: arguments.real("round_weight"), warmUp: arguments.real("warmup"),
      drop: arguments.real("drop_prob"), iterations: arguments.integer("iters"), batch: arguments.integer("batch"),
      rates: (arguments.real("lr_round"), arguments.real("lr_step")), seed: UInt64(arguments.integer("seed")))
  }

  /// For a block: the first and the last have more bits.
  func of(_ index: Int, _ stage: BlockRun, _ endBits: Int) -> BlockTuning {
    var copy = self
    if index == 0 || index == stage.blocks.count - 1 {
      copy.bits = max(bits, endBits)
      copy.inputBits = inputBits.map { max($0, endBits) }
    }
    return copy
  }

  /// What is left of it for one layer.
  var alone: AdaRound {
    get throws(TemperError) {
      AdaRound(
        uniform: try UniformGrid(bits: bits, .leastSquares), iterations: iterations, rate: rates.rounding,
        regularization: roundWeight)
    }
  }
}

extension ModelRun {
  /// The first of the calibration inputs, dense, in the model's type.
  func inputRows(atMost count: Int) throws(TemperError) -> Tensor {
    let x = try samples()
    return try model.prepared(try x.slice(0..<min(count, x.shape[0])))
  }
}
