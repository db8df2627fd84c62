import TemperCatalogue

/// The layers that every catalogue holds.
package enum Layers {
  package static let all: [Method] =
    [
      dense, conv2d, maxPool, averagePool, globalAveragePool, flatten, reshape, permute, batchNorm, layerNorm,
      groupNorm, rmsNorm, standardize, embedding, positionalEmbedding, residual, parallel, multiHeadAttention, gru,
      lstm,
    ] + noise + weights + gates + frequency + experts + prompts + pooling + ensembles + attention

  private static let attention = [decayedLinearAttention, gaussianAttention, slidingWindowAttention]
  /// What is measured to choose an option of a layer.
  package static let metrics: [Method] = [nestedDropoutPrefix]

  private static let noise = [
    dropout, dropPath, dropBlock, nestedDropout, symmetricNoise, randomizedFeatureDefense, mixup, cutmix, manifoldMixup,
  ]
  private static let weights =
    [frozen, weightNorm, spectralNorm, mixout, lora, dora, conditionedLowRank, movementPruning]
    + quantizationAware
  private static let gates = gatedUnits + [squeezeExcite, nafnetBlock, rotaryEmbedding]
  private static let frequency = [fftFilterLayer, frequencyPreferenceControl, fourierHead]
  private static let experts = [topkSoftmaxGate, softmaxGatedLogisticMixture, softMoA]
  private static let prompts = [decomposedPromptTuning, residualPromptTuning, instructionAwarePrompt]
  private static let pooling = [
    attsetsPooling, labelWiseAttention, labelAttentionPooling, discreteKeyValueBottleneck,
  ]
  private static let ensembles = [
    leviLayerwiseEnsemble, layerwiseProbe, adaptiveSmoothingMix, forwardForward, cascadedForward,
  ]
}
