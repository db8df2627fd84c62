import TemperCatalogue
import TemperCore

/// The blocks of a GGUF type, found by a search of least squared error. Rows that are no whole blocks get the type that
/// stands in for it there; where there is none they stay float32.
package struct GGUFSearch: Quantizer {
  package let type: GGUFType
  package var name: String { "gguf_blocks" }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    _ = try weight.ranges(groupSize: max(weight.columns, 1), workers: workers)
    let type = try GGUF.place(weight.shape, type).type
    try type.checkSizes(weight.values)
    return try QuantizedMatrix(
      GGUFBlocks(shape: weight.shape, type, workers: workers) { rows throws(TemperError) in
        GGUFNumbers(try weight.values.slice(rows))
      })
  }
}

extension GGUFSearch {
  static let method = Method(
    "gguf_blocks", kind: .quantizer, area: "quant",
    summary: "The blocks of a type of GGUF files, found by a search of least squared error.",
    parameters: [
      .choice(
        "type", GGUFType.all.filter { $0.copied == nil }.map(\.name), initial: "Q4_K",
        "Of the blocks; rows that are no whole blocks get another, as llama.cpp has it, or stay floats.")
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        GGUFSearch(type: try GGUFType(named: arguments.text("type")))
      }))
}
