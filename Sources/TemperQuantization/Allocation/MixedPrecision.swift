import TemperCatalogue
import TemperCore
import TemperNetworks

/// A level for each weight of a model, such that the sum of what each costs is least under a mean of bits: exact, by
/// dynamic programming. What a level costs a weight is measured for it alone.
package struct MixedPrecision: ModelQuantizer {
  package var name: String { "mixed_precision" }
  let arguments: Arguments
  package let base: any Quantizer
  package var needsInputs: Bool { true }
  package var needsSaliency: Bool { arguments.text("criterion") == "fisher" }

  init(_ arguments: Arguments) throws(TemperError) {
    self.arguments = arguments
    base = try Levels(arguments).finest
  }

  package func pack(
    _ run: ModelRun
  ) throws(TemperError) -> (model: QuantizedModel, reports: [(String, QuantizationReport)]) {
    let database = try LevelDatabase(run, arguments)
    let losses = try losses(run, database)
    let things = zip(database.costs, losses).map { costs, losses in
      zip(costs, losses).map { Knapsack.Choice(cost: $0, loss: $1) }
    }
    let budget = arguments.real("target_bits") * Double(database.sizes.reduce(0, +))
    guard let levels = Knapsack.solve(things, budget: budget) else {
      throw TemperError(.outOfRange, "Even the lowest levels need more than target_bits; add lower levels.")
    }
    return (try run.quantized(database.matrices(levels)), database.reports(levels))
  }

  /// By weight and level.
  private func losses(_ run: ModelRun, _ database: LevelDatabase) throws(TemperError) -> [[Double]] {
    switch arguments.text("criterion") {
    case "divergence":
      let x = try run.samples()
      let trial = try TrialModel(run, database)
      let reference = try run.model.predict(x, workers: run.workers)
      var losses: [[Double]] = []
      for index in database.names.indices {
        var own: [Double] = []
        for level in database.packed[index].indices {
          var state = [Int?](repeating: nil, count: database.names.count)
          state[index] = level
          own.append(try OutputDivergence.kl(reference, try trial.outputs(x, state)))
        }
        losses.append(own)
        try run.step("sensitivity of \(database.names[index])", done: index + 1, of: database.names.count)
      }
      return losses
    case "hessian_trace":
      let traces = try run.hessianTraces(probes: arguments.integer("probes"))
      return database.packed.indices.map { index in
        // ½ · mean curvature · Σ (w − ŵ)².
        database.packed[index].map {
          0.5 * max(traces[index], 0) * $0.report.meanSquaredError
        }
      }
    case "fisher":
      var losses: [[Double]] = []
      for (index, variable) in run.chosen.enumerated() {
        let weight = try run.weight(variable).values.array(of: Float.self)
        let saliency = run.inputs[variable.name]?.saliency ?? [Float](repeating: 0, count: weight.count)
        var own: [Double] = []
        for level in database.packed[index] {
          let back = try level.matrix.dequantize(workers: run.workers).array(of: Float.self)
          own.append(
            weight.indices.reduce(0.0) { sum, i in
              let missed = Double(weight[i]) - Double(back[i])
              return sum + 0.5 * Double(saliency[i]) * missed * missed
            })
        }
        losses.append(own)
      }
      return losses
    default:
      return database.packed.map { levels in levels.map { $0.report.outputError ?? $0.report.relativeError } }
    }
  }

  static let method = Method(
    "mixed_precision", kind: .quantizer, area: "quant",
    summary: "Gives each weight of a model its bits: the least sum of single costs under a mean, by exact programming.",
    reference: Reference(
      "Dong et al.", 2019, "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks",
      arXiv: "1911.03852"),
    parameters: Levels.parameters + [
      .choice(
        "criterion", ["output_error", "divergence", "hessian_trace", "fisher"],
        "What a level costs: what the layer's outputs miss, what the model's outputs diverge by, or the weights' squared error times the loss's mean curvature or squared gradient."
      ),
      .integer("probes", 8, in: 1...10000, "Random directions for the trace of the Hessian."),
    ],
    implementation: .component(QuantizerMaker { arguments throws(TemperError) in try MixedPrecision(arguments) }))
}
