import TemperCatalogue

/// The layers that every catalogue holds.
package enum Layers {
  package static let all: [Method] = [
    dense, dropout, flatten, reshape, permute,
  ]
}
