import TemperCatalogue

/// Every loss and operator of this room.
package enum Losses {
  package static let all: [Method] =
    classification + regression + noisyLabels + softmaxFamily + logitTransforms
}
