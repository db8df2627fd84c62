import TemperCatalogue

/// The training procedures of the catalogue.
package enum Procedures {
  package static let all: [Method] = [
    CoTeaching.method, SmallLoss.method,
  ]
}
