import TemperCatalogue
import TemperCore
import TemperNetworks

/// A level for each weight of a model by evolution, under a fixed mean of bits, with the model's outputs as the judge.
package struct EvoPress: ModelQuantizer {
  package var name: String { "evopress" }
  let arguments: Arguments
  let survivors: [Int]
  let tokens: [Int]
  package let base: any Quantizer
  package var needsInputs: Bool { true }

  init(_ arguments: Arguments) throws(TemperError) {
    self.arguments = arguments
    survivors = try numbers(arguments.text("survivors"), "survivors", in: 1...1e6).map { Int($0) }
    tokens = try numbers(arguments.text("tokens"), "tokens", in: 1...1e12).map { Int($0) }
    guard survivors.count == tokens.count else {
      throw TemperError(
        .invalidArgument, "survivors and tokens have one number a stage; \(survivors.count) and \(tokens.count) came.")
    }
    base = try Levels(arguments).finest
  }

  package func pack(
    _ run: ModelRun
  ) throws(TemperError) -> (model: QuantizedModel, reports: [(String, QuantizationReport)]) {
    let x = try run.samples()
    let database = try LevelDatabase(run, arguments)
    let total = Double(database.sizes.reduce(0, +))
    let search = EvolutionarySearch(
      costs: database.costs, budget: arguments.real("target_bits") * total,
      offspring: arguments.integer("offspring"), survivors: survivors)
    let streams = Random(seed: UInt64(arguments.integer("seed")), stream: name)
    var first = streams.stream("start")
    var state = EvolutionarySearch.State(parent: try search.start(&first))
    let trial = try TrialModel(run, database)
    let divergence = OutputDivergence(rawValue: arguments.text("fitness")) ?? .kl
    let reference = try run.model.predict(x, workers: run.workers)
    // Rows of outputs of a sample: its tokens.
    let rows = max(run.model.output.count / max(run.model.output.sizes.last ?? 1, 1), 1)
    var batch: (stage: Int, generation: Int, x: Tensor, y: Tensor)?
    let generations = arguments.integer("generations")
    while state.generation < generations {
      try search.advance(&state, random: streams) { (levels, stage, generation) throws(TemperError) in
        if batch?.stage != stage || batch?.generation != generation {
          var random = streams.stream("data").stream(generation * tokens.count + stage)
          let (part, expected) = try EvoPress.draw(x, reference, max(tokens[stage] / rows, 1), &random)
          batch = (stage, generation, part, expected)
        }
        guard let batch else { return .infinity }
        return try divergence(batch.y, try trial.outputs(batch.x, levels))
      }
      try run.step(
        "\(arguments.text("fitness")) \(state.history.last ?? .nan)", done: state.generation, of: generations)
    }
    return (try run.quantized(database.matrices(state.parent)), database.reports(state.parent))
  }

  /// `count` samples without repetition, or all.
  private static func draw(
    _ x: Tensor, _ y: Tensor, _ count: Int, _ random: inout Random
  ) throws(TemperError) -> (x: Tensor, y: Tensor) {
    let total = x.shape[0]
    guard count < total else { return (x, y) }
    let chosen = random.permutation(total).prefix(count)
    func rows(_ source: Tensor) throws(TemperError) -> Tensor {
      let result = try Tensor(zeros: Shape([count] + source.shape.sizes.dropFirst()), source.dtype)
      for (place, index) in chosen.enumerated() {
        try result.slice(place..<(place + 1)).assign(from: try source.slice(index..<(index + 1)))
      }
      return result
    }
    return (try rows(x), try rows(y))
  }

  static let method = Method(
    "evopress", kind: .quantizer, area: "quant",
    summary: "Finds a level of compression for each weight of a model by evolution, with the outputs as the judge.",
    reference: Reference(
      "Sieberling et al.", 2024, "EvoPress: Towards Optimal Dynamic Model Compression via Evolutionary Search",
      arXiv: "2410.14649"),
    parameters: Levels.parameters + [
      .integer("offspring", 128, in: 1...100000, "Candidates of a generation."),
      .text("survivors", "16,4,1", "How many go on after each stage."),
      .text("tokens", "2048,16384,131072", "Rows of outputs that each stage looks at."),
      .integer("generations", 150, in: 0...1_000_000, "Rounds."),
      .choice("fitness", ["kl", "mse"], "Distance of the outputs from the float model's."),
      .integer("seed", 0, in: 0...(.max), "Of mutations and draws."),
    ],
    implementation: .component(QuantizerMaker { arguments throws(TemperError) in try EvoPress(arguments) }))
}
