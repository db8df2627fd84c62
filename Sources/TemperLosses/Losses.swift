import TemperCatalogue

/// Every loss, operator and decoder of this room.
package enum Losses {
  package static let all: [Method] = [
    classification, scores, multiLabelScores, margins, divergences, regression, distributions, dependence,
    noisyLabels, corrections, implicitFeedback, multiLabel, alignment, longTail, experts,
    contrastive, metric, embeddings, ranking, semiSupervised, preference,
    regularizers, adversarial, diffusion, restoration, sequences,
    softmaxFamily, softmaxVariants, logitTransforms, attention, weightOperators, ensembles, sparseCoding, decoders,
  ].flatMap { $0 }
}
