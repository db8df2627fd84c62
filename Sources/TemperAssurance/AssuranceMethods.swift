import TemperCatalogue

/// The methods of this room.
package enum AssuranceMethods {
  package static let all: [Method] = [TemperatureScaling.method]
}
