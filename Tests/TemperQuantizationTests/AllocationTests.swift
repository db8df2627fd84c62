import Glibc
import TemperCatalogue
import TemperCore
import TemperNetworks
import Testing

@testable import TemperQuantization

private typealias Parameters = [(name: String, value: Value)]
private let catalogue = Catalogue(Layers.all + Activations.all + Quantizers.all)

private func network(_ text: String, input: Shape, seed: UInt64 = 3) throws -> Model {
  try Model(try Description(parsing: text), input: input, seed: seed, catalogue: catalogue)
}

private func difference(_ a: Tensor, _ b: Tensor) -> Double {
  zip(doubles(a), doubles(b)).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
}

@Suite struct KnapsackTests {
  /// Six layers, three choices each: as the 729 combinations.
  @Test func theBestOfAllCombinations() {
    var random = Random(seed: 12)
    for _ in 0..<20 {
      let things = (0..<6).map { _ in
        let size = Double(1 + random.below(5))
        return [2.0, 4, 8].map { Knapsack.Choice(cost: size * $0, loss: random.uniform() * (9 - $0)) }
      }
      let lowest = things.reduce(0) { $0 + $1[0].cost }
      let budget = lowest * (1 + 2 * random.uniform())
      var least = Double.infinity
      for index in 0..<729 {
        var (rest, cost, loss) = (index, 0.0, 0.0)
        for thing in things {
          (cost, loss) = (cost + thing[rest % 3].cost, loss + thing[rest % 3].loss)
          rest /= 3
        }
        if cost <= budget { least = min(least, loss) }
      }
      let found = Knapsack.solve(things, budget: budget)!
      let loss = zip(things, found).reduce(0) { $0 + $1.0[$1.1].loss }
      #expect(abs(loss - least) < 1e-12)
      #expect(zip(things, found).reduce(0) { $0 + $1.0[$1.1].cost } <= budget + 1e-9)
      #expect(Knapsack.solve(things, budget: lowest - 1) == nil)
    }
  }
}

@Suite struct EvolutionarySearchTests {
  /// An additive fitness: the optimum is the knapsack's.
  @Test(arguments: 0..<10) func reachesTheOptimum(seed: UInt64) throws {
    var random = Random(seed: seed, stream: "losses")
    let losses = (0..<20).map { _ -> [Double] in
      let size = exp2(4 * random.uniform())
      return (2...5).map { size * exp2(-2 * Double($0)) }
    }
    let costs = [[Double]](repeating: [2, 3, 4, 5], count: 20)
    func fitness(_ state: [Int]) -> Double { zip(losses, state).reduce(0) { $0 + $1.0[$1.1] } }
    let search = EvolutionarySearch(costs: costs, budget: 60, offspring: 32, survivors: [8, 1])
    var first = Random(seed: seed, stream: "start")
    var state = EvolutionarySearch.State(parent: try search.start(&first))
    #expect(state.parent.allSatisfy { $0 == 1 })
    for _ in 0..<150 {
      try search.advance(&state, random: Random(seed: seed)) { (candidate, _, _) throws(TemperError) in
        // The budget holds exactly for every state that is looked at.
        #expect(search.cost(candidate) == 60)
        return fitness(candidate)
      }
    }
    let best = Knapsack.solve(
      zip(costs, losses).map { zip($0, $1).map { Knapsack.Choice(cost: $0, loss: $1) } }, budget: 60)!
    #expect(fitness(state.parent) <= fitness(best) * (1 + 1e-9))
    #expect(zip(state.history, state.history.dropFirst()).allSatisfy { $1 <= $0 })
  }

  @Test func layersOfDifferentSizes() throws {
    let costs = [[2.0, 3, 4], [20, 30, 40], [4, 6, 8]]
    let search = EvolutionarySearch(costs: costs, budget: 40, offspring: 16, survivors: [1])
    var random = Random(seed: 1)
    var state = EvolutionarySearch.State(parent: try search.start(&random))
    for _ in 0..<30 {
      try search.advance(&state, random: Random(seed: 2)) { (candidate, _, _) throws(TemperError) in
        #expect(search.cost(candidate) <= 40)
        return [[5.0, 2, 0], [9, 1, 0], [4, 3, 2]].enumerated().reduce(0) { $0 + $1.element[candidate[$1.offset]] }
      }
    }
    // 30 + 6 + 4: the best within 40.
    #expect(state.parent == [2, 1, 1])
    let poor = EvolutionarySearch(costs: costs, budget: 20, offspring: 4, survivors: [1])
    #expect(failure { _ = try poor.start(&random) }?.code == .outOfRange)
  }
}

@Suite struct WholeModelTests {
  private let text = #"[{"dense": 24}, "relu", {"dense": 24}, "relu", {"dense": 24}, "relu", {"dense": 6}]"#

  @Test func searchesKeepTheBudgetAndBeatUniformBits() throws {
    let model = try network(text, input: [24])
    // The first layer's inputs matter much more.
    let x = weights([150, 24], seed: 5, scale: 4)
    let reference = try model.predict(x, workers: workers)
    func error(_ name: String, _ parameters: Parameters) throws -> (kl: Double, bits: Double) {
      let result = try quantizer(name, parameters).quantize(
        model, calibration: x, catalogue: catalogue, workers: workers)
      let bits = result.report.weights.reduce(0.0) { $0 + $1.report.bits * Double($1.report.shape.count) }
      let count = result.report.weights.reduce(0) { $0 + $1.report.shape.count }
      return (
        try OutputDivergence.kl(reference, try result.model.model.predict(x, workers: workers)), bits / Double(count)
      )
    }
    let uniform = try error("round_to_nearest", [("bits", .integer(3))])
    let evolved = try error(
      "evopress",
      [
        ("offspring", .integer(12)), ("survivors", .text("4,1")), ("tokens", .text("64,150")),
        ("generations", .integer(12)),
      ])
    #expect(evolved.bits <= 3 + 1e-9 && evolved.kl <= uniform.kl)
    for criterion in ["output_error", "divergence", "hessian_trace", "fisher"] {
      let exact = try error("mixed_precision", [("criterion", .text(criterion)), ("probes", .integer(2))])
      #expect(exact.bits <= 3 + 1e-9 && exact.kl.isFinite, "\(criterion)")
      if criterion == "divergence" { #expect(exact.kl < 1.5 * uniform.kl) }
    }
  }

  @Test func equalizingChangesNoOutput() throws {
    for (text, input) in [
      (text, Shape([24])),
      (
        #"[{"conv2d": {"channels": 5, "kernel": 3}}, "relu", {"conv2d": {"channels": 4, "kernel": 2}}, "relu", "flatten", {"dense": 3}]"#,
        Shape([2, 6, 6])
      ),
    ] {
      let model = try network(text, input: input)
      // Rows of very different sizes.
      let first = model.variable("0.weight")!.tensor!
      let columns = first.count / first.shape[0]
      try first.assign(
        from: try Tensor(
          floats(first).enumerated().map { $1 * exp2(2 * Float($0 / columns % 7) - 6) }, shape: first.shape))
      let x = weights(Shape([20] + input.sizes), seed: 5, scale: 1)
      let before = try model.predict(x, workers: workers)
      let copy = try Model(restoring: model.fileContents, catalogue: catalogue)
      try CrossLayerEqualization.equalize(copy, rounds: 50)
      let after = try copy.predict(x, workers: workers)
      #expect(difference(before, after) < 1e-9 * (1 + difference(before, try Tensor(zeros: before.shape))))
      #expect(floats(copy.variable("0.weight")!.tensor!) != floats(first))
      let parameters: Parameters = [("bits", .integer(4))]
      let tensor: Parameters = [("bits", .integer(4)), ("granularity", .text("tensor"))]
      let plain = try quantizer("round_to_nearest", tensor).quantize(model, catalogue: catalogue, workers: workers)
        .model
      let even = try quantizer("round_to_nearest", tensor).quantize(copy, catalogue: catalogue, workers: workers).model
      #expect(
        difference(before, try even.model.predict(x, workers: workers))
          < difference(before, try plain.model.predict(x, workers: workers)))
      let whole = try quantizer("cross_layer_equalization", parameters).quantize(
        model, catalogue: catalogue, workers: workers)
      #expect(difference(before, try whole.model.model.predict(x, workers: workers)).isFinite)
    }
  }

  @Test func normalizationsFoldAndAreMeasuredAnew() throws {
    let model = try network(
      #"[{"conv2d": {"channels": 6, "kernel": 3}}, {"batch_norm": {"epsilon": 0.01}}, "relu", "flatten", {"dense": 4}]"#,
      input: [2, 6, 6])
    var random = Random(seed: 4)
    for (name, low) in [("1.weight", -1.0), ("1.bias", -1), ("1.running_mean", -1), ("1.running_var", 0.5)] {
      let tensor = model.variable(name)!.tensor!
      try tensor.assign(from: try Tensor(tensor.array(of: Double.self).map { _ in low + 2 * random.uniform() }))
    }
    let x = weights([60, 2, 6, 6], seed: 5, scale: 1)
    let before = try model.predict(x, workers: workers)
    let copy = try Model(restoring: model.fileContents, catalogue: catalogue)
    #expect(try copy.foldBatchNorm(1, 0.01) != nil)
    #expect(difference(before, try copy.predict(x, workers: workers)) < 1e-8)
    // The model's statistics are those of its inputs: measuring them anew restores the outputs' means.
    let (means, variances) = try model.channelStatistics(before: 1, x, workers: workers)
    try model.assign("1.running_mean", means)
    try model.assign("1.running_var", variances)
    let reference = try model.predict(x, workers: workers)
    for fold in [true, false] {
      let result = try quantizer("batch_norm_reestimation", [("bits", .integer(3)), ("fold", .boolean(fold))])
        .quantize(model, calibration: x, catalogue: catalogue, workers: workers)
      let plain = try quantizer("round_to_nearest", [("bits", .integer(3))])
        .quantize(model, catalogue: catalogue, workers: workers)
      #expect(
        difference(reference, try result.model.model.predict(x, workers: workers))
          < 1.2 * difference(reference, try plain.model.model.predict(x, workers: workers)))
      let again = try result.model.model.channelStatistics(before: 1, x, workers: workers)
      for (found, measured) in zip(doubles(result.model.model.variable("1.running_mean")!.tensor!), again.means) {
        #expect(abs(found - measured) < 1e-5)
      }
    }
  }

  @Test func cancelledRunsGoOn() throws {
    let model = try network(text, input: [24])
    let x = weights([40, 24], seed: 5, scale: 1)
    let method = try quantizer("gptq", [("bits", .integer(3))])
    let whole = try method.quantize(model, calibration: x, catalogue: catalogue, workers: workers)
    var seen: [String] = []
    let session = QuantizationSession { progress throws(TemperError) in
      seen.append(progress.what)
      return progress.done != 2
    }
    let stopped = failure {
      _ = try method.quantize(model, calibration: x, session: session, catalogue: catalogue, workers: workers)
    }
    #expect(stopped?.code == .cancelled && seen == ["0.weight", "2.weight"])
    let resumed = try method.quantize(model, calibration: x, session: session, catalogue: catalogue, workers: workers)
    // Nothing is done twice, and the bits are those of a run that was never stopped.
    #expect(seen == ["0.weight", "2.weight", "4.weight", "6.weight"])
    for (a, b) in zip(whole.model.weights, resumed.model.weights) {
      #expect(floats(a.matrix.codes) == floats(b.matrix.codes))
    }
  }

  @Test func calibrationInParts() throws {
    let model = try network(text, input: [24])
    let x = weights([300, 24], seed: 5, scale: 1)
    let method = try quantizer("gptq", [("bits", .integer(3))])
    var observed: [String: InputStatistics] = [:]
    for range in [0..<128, 128..<256, 256..<300] {
      try model.observe(try model.packable(), try x.slice(range), into: &observed, workers: workers)
    }
    let parts = try method.quantize(model, observed: observed, catalogue: catalogue, workers: workers)
    let whole = try method.quantize(model, calibration: x, catalogue: catalogue, workers: workers)
    for (a, b) in zip(parts.model.weights, whole.model.weights) {
      #expect(floats(a.matrix.codes) == floats(b.matrix.codes))
    }
    #expect(parts.report.weights.map(\.report) == whole.report.weights.map(\.report))
  }

  /// Squared gradients by hand: one layer, softmax cross-entropy.
  @Test func saliencyIsTheMeanSquaredGradient() throws {
    let model = try network(#"[{"dense": 3}]"#, input: [4])
    let x = weights([10, 4], seed: 5, scale: 1)
    let targets = try Tensor((0..<10).map { Int32($0 % 3) })
    var statistics: [String: InputStatistics] = [:]
    let chosen = try model.packable()
    try model.observe(chosen, x, into: &statistics, workers: workers)
    try model.observeSaliency(chosen, x, targets: targets, into: &statistics, workers: workers)
    let (inputs, y) = (doubles(x), doubles(try model.predict(x, workers: workers)))
    for row in 0..<3 {
      for column in 0..<4 {
        let gradient = (0..<10).reduce(0.0) { sum, n in
          let total = (0..<3).reduce(0.0) { $0 + exp(y[n * 3 + $1]) }
          return sum + (exp(y[n * 3 + row]) / total - (n % 3 == row ? 1 : 0)) * inputs[n * 4 + column] / 10
        }
        #expect(abs(Double(statistics["0.weight"]!.saliency![row * 4 + column]) - gradient * gradient) < 1e-7)
      }
    }
    let bad = try Tensor([Int32](repeating: 3, count: 10))
    #expect(
      failure { try model.observeSaliency(chosen, x, targets: bad, into: &statistics, workers: workers) }?.code
        == .outOfRange)
  }
}
