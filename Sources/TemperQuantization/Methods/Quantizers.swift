import TemperCatalogue

/// The quantizers of the catalogue.
package enum Quantizers {
  package static let all: [Method] =
    [
      RoundToNearest.method,
      RoundToNearest.method(
        .nf4, "16 quantiles of the normal distribution",
        Reference("Dettmers et al.", 2023, "QLoRA: Efficient Finetuning of Quantized LLMs", arXiv: "2305.14314")),
      RoundToNearest.method(
        .fp4E2M1, "the 4-bit floats 0, 0.5, 1, 1.5, 2, 3, 4, 6",
        Reference("Open Compute Project", 2023, "OCP Microscaling Formats (MX) Specification")),
      RoundToNearest.method(
        .fp8E4M3, "the 8-bit floats with 3 bits of fraction, up to 448",
        Reference("Micikevicius et al.", 2022, "FP8 Formats for Deep Learning", arXiv: "2209.05433")),
      RoundToNearest.method(
        .fp8E5M2, "the 8-bit floats with 2 bits of fraction, up to 57344",
        Reference("Micikevicius et al.", 2022, "FP8 Formats for Deep Learning", arXiv: "2209.05433")),
      RoundToNearest.method(
        .fp6E2M3, "the 6-bit floats with 3 bits of fraction, up to 7.5",
        Reference("Open Compute Project", 2023, "OCP Microscaling Formats (MX) Specification")),
      RoundToNearest.method(
        .fp6E3M2, "the 6-bit floats with 2 bits of fraction, up to 28",
        Reference("Open Compute Project", 2023, "OCP Microscaling Formats (MX) Specification")),
      SignsAndZeros.binary, SignsAndZeros.ternary, HalfPrecision.float16, HalfPrecision.bfloat16,
      BlockScaled.blockFloatingPoint, NVFP4.method, GGUFSearch.method, KMeans.method, GPTQ.method, AWQ.method,
      SmoothQuant.method,
      HadamardRotation.method, HalfQuadratic.method, AdaRound.method, OptimalBrain.method, BiasCorrection.method,
      Pruning.magnitude, Pruning.wanda, SparseGPT.method, AdaQuant.method, BitAllocation.method,
      MultiCodebook.method, MultiCodebook.additive, SaliencyRegularized.method, SigmaDelta.method,
      MixedPrecision.method, EvoPress.method, PredictionDifference.method, MetaAugmentation.method,
      CrossLayerEqualization.method, BatchNormReestimation.method,
    ] + BlockScaled.methods
}
