import TemperCatalogue

/// Every loss and operator of this room.
package enum Losses {
  package static let all: [Method] =
    classification + margins + divergences + regression + noisyLabels + longTail + contrastive + ranking
    + preference + dependence + softmaxFamily + softmaxVariants + logitTransforms + attention
}
