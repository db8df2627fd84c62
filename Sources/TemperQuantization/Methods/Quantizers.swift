import TemperCatalogue

/// The quantizers of the catalogue.
package enum Quantizers {
  package static let all: [Method] = [RoundToNearest.method]
}
