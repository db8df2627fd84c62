import TemperCatalogue

/// The generators of the catalogue.
enum Generators {
  static let all: [Method] = LabelNoise.all
}
