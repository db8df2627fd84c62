import TemperCatalogue

/// Every loss, operator and decoder of this room.
package enum Losses {
  package static let all: [Method] = [
    classification, logProbabilities, scores, multiLabelScores, overlap, margins, divergences,
    regression, exponentialDispersion, distributions, dependence,
    noisyLabels, normalizedLosses, corrections, asymmetricFamily, peers, implicitFeedback, multiLabel, alignment,
    longTail, classWeighting, equalizations, experts,
    contrastive, metric, pairs, angularMargins, embeddings, ranking, rankingPairs, lists, semiSupervised,
    distillations, calibration, preference, preferenceVariants, referenceFree, unpaired,
    regularizers, adversarial, diffusion, restoration, sequences,
    softmaxFamily, softmaxVariants, entmaxFamily, largeVocabulary, logitTransforms, attention, weightOperators,
    ensembles, sparseCoding, targetTransforms, decoders,
    streaming, graphs, bandLimited, tokenInfusion, hypotheses, physics,
  ].flatMap { $0 }
}
