import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// Rows of a trained table. The padding index gives zeros and no gradient, and attention with a key mask leaves it out.
  static let embedding = Method.layer(
    "embedding", summary: "Looks up a trained vector for each index.",
    options: [
      .size("entries", "Indices run from 0 to entries - 1.").named(also: "num_embeddings"),
      .size("size", "Width of a vector.").named(also: "embedding_dim"),
      .integer("padding_index", -1, in: -1...Int(Int32.max), "The index that stands for nothing; -1: none does."),
      LayerOption(
        .text(
          "initializer", "normal",
          "Of the table; N(0, 1) by default. One of \(Initializer.names.joined(separator: ", "))."),
        .named),
    ],
    takesIndices: true
  ) { (layer) throws(TemperError) in
    let (entries, size, padding) = (layer.integer("entries"), layer.integer("size"), layer.integer("padding_index"))
    guard padding < entries, entries <= Int(Int32.max) else {
      throw TemperError(
        .outOfRange, "There are at most 2^31 - 1 entries, and the padding index \(padding) must be below \(entries).")
    }
    try layer.requireSize(layer.input.sizes + [size])
    let initializer = layer.options.has("initializer") ? try layer.initializer() : .normal(mean: 0, std: 1)
    let table = try layer.parameter("weight", [entries, size], initializer, fanIn: size, fanOut: entries, use: .table)
    layer.limitIndices(to: entries)
    if padding >= 0 && layer.input.rank == 1 { layer.makesMask() }
    return { indices, pass in
      let rows = pass.replaced(table, indices) ?? pass[table].gatherRows(indices)
      guard padding >= 0 else { return rows }
      let present = indices .!= Double(padding)
      if indices.shape.rank == 2 { pass.mask = present }
      return .select(present.expanded(), rows, .constant(0))
    }
  }

  /// y[t] = x[t] + p[t] for sequences (T, D): p trained, or fixed waves
  /// p[t, 2i] = sin(t / 10000^(2i / D)), p[t, 2i + 1] = cos(t / 10000^(2i / D)).
  static let positionalEmbedding = Method.layer(
    "positional_embedding", summary: "Adds a vector for the position to each step of a sequence.",
    reference: Reference("Vaswani et al.", 2017, "Attention Is All You Need", arXiv: "1706.03762"),
    options: [
      .choice("form", ["learned", "sinusoidal"], "Trained vectors, or fixed waves."),
      LayerOption(
        .text("initializer", "normal", "Of trained vectors; N(0, 0.02^2) by default."), .named),
    ],
    main: "form"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(2...2, "sequences (steps, width)")
    let (steps, width) = (layer.input[0], layer.input[1])
    let shape = Shape([steps, width])
    if layer.text("form") == "learned" {
      let initializer = layer.options.has("initializer") ? try layer.initializer() : .normal(mean: 0, std: 0.02)
      let table = try layer.parameter("weight", shape.sizes, initializer, fanIn: width, fanOut: steps)
      return { x, pass in x + pass[table] }
    }
    return { x, _ in
      let column = Expression.iota(shape)
      let pair = floor(column * 0.5)
      let frequency = exp(pair * (-2 * log(10_000.0) / Double(width)))
      // cos(a) = sin(a + pi / 2)
      let phase = (column - 2 * pair) * (Double.pi / 2)
      return x + sin(.iota(shape, axis: 0) * frequency + phase)
    }
  }
}
