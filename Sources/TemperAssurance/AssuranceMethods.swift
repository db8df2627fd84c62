import TemperCatalogue

/// The methods of this room.
package enum AssuranceMethods {
  package static let all: [Method] =
    [TemperatureScaling.method, PriorCorrection.method, Influence.method] + TransitionEstimates.all
    + [ThreeLabels.method] + NoiseMetrics.all
}
