import TemperCatalogue

/// The generators of the catalogue.
enum Generators {
  static let all: [Method] =
    LabelNoise.all + DataNoise.all + [Slabs.method, WeakAnnotators.method, Packing.method, TableRows.method]
    + ReasoningText.all
}
