import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import Testing

@testable import TemperTraining

/// Two networks; each learns from the share of the batch that has the smallest loss in the other.
/// Co-teaching, Han et al., 2018, arXiv 1804.06872.
private final class CoTeaching: Procedure {
  let name = "co_teaching"
  let networkCount = 2
  let forgetRate: Double
  var settings: String { "forget_rate=\(forgetRate)" }
  init(forgetRate: Double) { self.forgetRate = forgetRate }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let share = step.number("share") { [forgetRate] in 1 - forgetRate * min(Double($0.epoch - 1) / 3, 1) }
    let losses = [
      try step.loss(of: step.forward(0), network: 0).values, try step.loss(of: step.forward(1), network: 1).values,
    ]
    func selected(by judge: Expression) -> Expression {
      let row = judge.reshaped([1, step.count])
      let rank = row.sortOrder().sortOrder()  // place of each sample among the losses
      return (rank.asReal .< share * Double(step.count)).reshaped([step.count, 1]).stopGradient
    }
    let (first, second) = (selected(by: losses[1]), selected(by: losses[0]))
    return (losses[0] * first).sumAll() / first.sumAll() + (losses[1] * second).sumAll() / second.sumAll()
  }
}

extension Expression {
  fileprivate var asReal: Expression { self + 0 }
}

/// Samples whose loss is above a moving threshold m / sqrt(v) do not count (Adaptive-k).
private final class AdaptiveThreshold: Procedure {
  let name = "adaptive_k"

  func prepare(_ training: Training) throws(TemperError) {
    try training.keep("m")
    try training.keep("v")
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let losses = try step.loss(of: step.forward()).values
    let mean = losses.meanAll().stopGradient
    let m = 0.9 * (try step.whole("m")) + 0.1 * mean
    let v = 0.999 * (try step.whole("v")) + 0.001 * square(mean)
    try step.update("m", to: m)
    try step.update("v", to: v)
    let chosen = (losses .<= m / (sqrt(v) + 1e-8)).stopGradient
    return (losses * chosen).sumAll() / maximum(chosen.sumAll(), 1)
  }
}

/// Records each sample's loss, leaves out the largest quarter in later epochs, and keeps a moving average of the
/// network in a second one that no gradient reaches.
private final class PrunedMeanTeacher: Procedure {
  let name = "pruned_mean_teacher"
  let networkCount = 2
  var orders: [[Int32]] = []

  func prepare(_ training: Training) throws(TemperError) {
    try training.keepRows("losses")
    try training.keepRows("chosen", initial: 1)
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    guard training.position.epoch > 1 else { return }
    let losses = try training.kept("losses").array(of: Double.self)
    let bound = losses.sorted()[losses.count * 3 / 4]
    try training.kept("chosen").assign(from: try Tensor(losses.map { $0 < bound ? 1.0 : 0 }, shape: [losses.count, 1]))
  }

  func order(_ training: Training) throws(TemperError) -> [Int32] {
    let chosen = try training.kept("chosen").array(of: Double.self)
    var random = training.random("shuffle").stream(training.position.epoch)
    let order = random.permutation(training.sampleCount).filter { chosen[$0] == 1 }.map { Int32($0) }
    orders.append(order)
    return order
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let losses = try step.loss(of: step.forward())
    try step.update("losses", to: losses.values)
    return losses.reduced(.mean)
  }

  func stepDidEnd(_ training: Training) throws(TemperError) {
    let (student, teacher) = (training.networks[0].parameters, training.networks[1].parameters)
    let average = zip(try teacher.array(of: Double.self), try student.array(of: Double.self)).map {
      0.9 * $0 + 0.1 * $1
    }
    try teacher.assign(from: try Tensor(average))
  }
}

/// Names what a second array of the data is for.
private final class TwoViews: Procedure {
  let name = "two_views"
  let inputs = [Input("view", [.init(["N", "D"])], "The same samples seen otherwise.")]

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let view = try step.loss(of: step.forward(0, step.rows("view")))
    return try step.loss(of: step.forward()).reduced(.mean) + view.reduced(.mean)
  }
}

/// Weights of the samples that a tried step shows to lower the loss of a few trusted samples.
/// Learning to reweight, Ren et al., 2018, arXiv 1803.09050.
private final class LearningToReweight: Procedure {
  let name = "learning_to_reweight"
  let inputs = [
    Input("trusted_x", [.init(["M", "D"])], "Samples whose targets are right."),
    Input("trusted_y", [.init(["M"], .index(below: "C"))], "Their class ids."),
  ]

  func prepare(_ training: Training) throws(TemperError) { try training.keepRows("eps") }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let losses = try step.loss(of: step.forward()).values
    // w = max(0, -d(trusted loss after a step on sum(eps * losses)) / d(eps)) at eps = 0
    let eps = try step.rows("eps")
    let parameters = step.parameters()
    let tried = zip(parameters, try Differentiate.gradients(of: (eps * losses).sumAll(), withRespectTo: parameters))
      .map { $0 - $1 }
    let trusted = try step.loss(
      of: step.forward(0, step.whole("trusted_x"), parameters: tried), inputs: ["targets": step.whole("trusted_y")])
    let slope = try Differentiate.gradients(of: trusted.reduced(.mean), withRespectTo: [eps])[0]
    let weights = maximum(-slope, 0).stopGradient
    return (weights * losses).sumAll() / maximum(weights.sumAll(), 1e-12)
  }
}

/// Targets move halfway to what the network believes after each epoch.
private final class SelfCorrection: Procedure {
  let name = "self_correction"

  func prepare(_ training: Training) throws(TemperError) {
    guard let targets = training.samples.rows["targets"]?.tensor else { return }
    let classes = training.networks[0].model.output.last
    let ids = try targets.array(of: Int32.self)
    let hot = ids.flatMap { id in (0..<classes).map { $0 == Int(id) ? 1.0 : 0 } }
    try training.keepRows("believed", [classes]).assign(from: try Tensor(hot, shape: [ids.count, classes]))
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    try step.loss(of: step.forward(), replacing: ["targets": step.rows("believed")]).reduced(.mean)
  }

  func epochDidEnd(_ training: Training) throws(TemperError) {
    let believed = try training.kept("believed")
    let (logits, old) = (try training.outputs().array(of: Double.self), try believed.array(of: Double.self))
    let classes = believed.shape.last
    let new = old.indices.map { index in
      let row = logits[index / classes * classes..<(index / classes + 1) * classes]
      return 0.5 * old[index] + 0.5 * exp(logits[index]) / row.reduce(0) { $0 + exp($1) }
    }
    try believed.assign(from: try Tensor(new, shape: believed.shape))
  }
}

struct ProcedureTests {
  private static let network = "[{\"dense\": 24}, \"relu\", {\"dense\": 3}]"

  private func make(_ procedure: any Procedure, dtype: DType = .float32) throws -> Trainer {
    let models = try (0..<procedure.networkCount).map {
      try makeModel(ProcedureTests.network, [4], dtype: dtype, seed: UInt64($0))
    }
    return try makeTrainer(
      models[0], optimizer: "adam", [("learning_rate", .real(0.01))], procedure: procedure,
      peers: Array(models.dropFirst()))
  }

  /// Clouds with 40% of the labels drawn anew.
  private func noisyClouds() throws -> Dataset {
    var noisy = try clouds(150, spread: 0.8)
    var labels = try #require(noisy.y).array(of: Int64.self)
    var random = Random(seed: 8)
    for index in labels.indices where random.uniform() < 0.4 { labels[index] = Int64(random.below(3)) }
    noisy.y = try Tensor(labels)
    return noisy
  }

  /// Selecting by the peer's loss leaves wrong labels out.
  @Test func twoNetworksTeachEachOther() throws {
    let noisy = try noisyClouds()
    let clean = try clouds(150, spread: 0.8, seed: 2)
    let plain = try make(PlainProcedure())
    let coTeaching = try make(CoTeaching(forgetRate: 0.4))
    let (a, b) = (
      try plain.fit(noisy, epochs: 60, tests: [("clean", clean)]),
      try coTeaching.fit(noisy, epochs: 60, tests: [("clean", clean)])
    )
    let (first, second) = (
      try #require(a.epochs.last?.tests[0].measurement.accuracy),
      try #require(b.epochs.last?.tests[0].measurement.accuracy)
    )
    #expect(second > first + 0.05, "\(first) \(second)")
    #expect(try bits(coTeaching)[0] != bits(coTeaching)[1])
  }

  /// The moving averages are those of the paper's formula, fed with the losses that the steps report.
  @Test func numbersAreKeptFromStepToStep() throws {
    let trainer = try make(AdaptiveThreshold(), dtype: .float64)
    // The threshold of the first step is sqrt(10): all samples count, and the objective is their mean loss.
    var first: Double?
    try trainer.fit(
      clouds(16, type: .float64), epochs: 1,
      callbacks: Callbacks(step: { (report) throws(TemperError) in
        first = report.loss
        return .goOn
      }))
    let mean = try #require(first)
    let kept = Dictionary(uniqueKeysWithValues: trainer.run.kept.map { ($0.name, $0.tensor.number) })
    #expect(abs(try #require(kept["m"]) - 0.1 * mean) < 1e-14)
    #expect(abs(try #require(kept["v"]) - 0.001 * mean * mean) < 1e-14)
  }

  @Test func samplesAreChosenByWhatWasRecorded() throws {
    let procedure = PrunedMeanTeacher()
    let trainer = try make(procedure)
    let start = try trainer.networks[1].parameters.array(of: Double.self)
    let history = try trainer.fit(clouds(80), epochs: 3)
    #expect(procedure.orders.map(\.count) == [80, 60, 60])
    #expect(Set(procedure.orders[0]).count == 80 && history.epochs.count == 3)
    // The teacher moved by averaging alone: its optimizer never ran.
    #expect(try trainer.networks[1].parameters.array(of: Double.self) != start)
    #expect(
      try trainer.networks[1].optimizerStates.allSatisfy { try $0.tensor.array(of: Double.self).allSatisfy { $0 == 0 } }
    )
    #expect(
      try trainer.networks[0].optimizerStates.allSatisfy { try $0.tensor.array(of: Double.self).contains { $0 != 0 } })
  }

  @Test(arguments: [3, 5, 6, 9]) func whatProceduresKeepIsResumed(steps: Int) throws {
    let whole = try make(PrunedMeanTeacher())
    try whole.fit(clouds(80), epochs: 4)
    let file = TemporaryFile("procedure\(steps)")
    defer { file.remove() }
    let first = try make(PrunedMeanTeacher())
    var done = 0
    try first.fit(
      clouds(80), epochs: 4,
      callbacks: Callbacks(step: { (_) throws(TemperError) in
        done += 1
        return done == steps ? .stop : .goOn
      }))
    try first.save(file.path)
    let second = try make(PrunedMeanTeacher())
    try second.resume(file.path)
    try second.fit(clouds(80), epochs: 4)
    #expect(try bits(second) == bits(whole))
    #expect(figures(second.history) == figures(whole.history))
    #expect(
      message { try self.make(CoTeaching(forgetRate: 0.2)).resume(file.path) }.contains(
        "its procedure is pruned_mean_teacher(), the trainer's is co_teaching(forget_rate=0.2)"))
  }

  /// A view equal to x doubles the objective; a missing one is an error.
  @Test func secondViewsComeWithTheData() throws {
    var data = try clouds(16)
    let trainer = try make(TwoViews())
    #expect(message { try trainer.fit(data, epochs: 1) }.contains("view"))
    data.inputs["view"] = data.x
    let loss = try trainer.evaluate(clouds(16)).loss
    let history = try trainer.fit(data, epochs: 1)
    #expect(abs(history.epochs[0].trainingLoss - 2 * loss) < 1e-5)
  }

  /// A tried step's derivative: for one dense layer the weight of sample i is max(0, g_i g_trusted), and
  /// g_i g_m = (x_i x_m + 1) (p_i - y_i) (p_m - y_m).
  @Test func weightsAreLearnedFromTrustedSamples() throws {
    var data = try noisyClouds()
    data.x = try data.x.copy(as: .float64)
    let trusted = try clouds(9, spread: 0.8, seed: 3, type: .float64)
    let model = try makeModel("[{\"dense\": 3}]", [4], dtype: .float64)
    func parts(_ set: Dataset) throws -> (x: [[Double]], residual: [[Double]], loss: [Double]) {
      let (x, ids) = (try set.x.array(of: Double.self), try #require(set.y).array(of: Int64.self))
      let logits = try model.predict(set.x, workers: Workers(count: 1)).array(of: Double.self)
      var (residuals, losses): ([[Double]], [Double]) = ([], [])
      for (row, id) in ids.enumerated() {
        let e = logits[3 * row..<3 * row + 3].map { exp($0) }
        let p = e.map { $0 / e.reduce(0, +) }
        residuals.append((0..<3).map { p[$0] - ($0 == Int(id) ? 1 : 0) })
        losses.append(-log(p[Int(id)]))
      }
      return (ids.indices.map { Array(x[4 * $0..<4 * $0 + 4]) }, residuals, losses)
    }
    func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
    let (a, t) = (try parts(data), try parts(trusted))
    var (top, bottom) = (0.0, 0.0)
    for i in a.loss.indices {
      let slope = t.loss.indices.reduce(0.0) {
        $0 + (dot(a.x[i], t.x[$1]) + 1) * dot(a.residual[i], t.residual[$1]) / 9
      }
      top += max(0, slope) * a.loss[i]
      bottom += max(0, slope)
    }
    data.inputs = ["trusted_x": trusted.x, "trusted_y": try #require(trusted.y)]
    let trainer = try makeTrainer(model, procedure: LearningToReweight()) { $0.batchSize = 150 }
    #expect(abs(try trainer.fit(data, epochs: 1).epochs[0].trainingLoss - top / bottom) < 1e-12)
    #expect(bottom > 0 && abs(top / bottom - a.loss.reduce(0, +) / 150) > 1e-3)
    data.inputs["trusted_x"] = nil
    #expect(message { try trainer.fit(data, epochs: 2) }.contains("trusted_x"))
  }

  /// After one epoch at rest the believed targets are halfway between the given ones and the outputs.
  @Test func targetsFollowWhatTheNetworkBelieves() throws {
    let data = try clouds(40, type: .float64)
    let model = try makeModel(ProcedureTests.network, [4], dtype: .float64)
    let trainer = try makeTrainer(
      model, optimizer: "sgd", [("learning_rate", .real(0))], procedure: SelfCorrection())
    let first = try trainer.fit(data, epochs: 1).epochs[0].trainingLoss
    #expect(abs(try trainer.evaluate(data).loss - first) < 1e-12)
    let second = try trainer.fit(data, epochs: 2).epochs[1].trainingLoss
    let logits = try model.predict(data.x, workers: Workers(count: 1)).array(of: Double.self)
    let ids = try #require(data.y).array(of: Int64.self)
    var expected = 0.0
    for (row, id) in ids.enumerated() {
      let z = Array(logits[3 * row..<3 * row + 3])
      let sum = z.reduce(0) { $0 + exp($1) }
      for c in 0..<3 { expected -= (0.5 * (c == Int(id) ? 1 : 0) + 0.5 * exp(z[c]) / sum) * (z[c] - log(sum)) / 40 }
    }
    #expect(abs(second - expected) < 1e-12)
  }

  @Test func theNumberOfModelsMustFit() throws {
    let text = message {
      _ = try makeTrainer(makeModel(ProcedureTests.network, [4]), procedure: CoTeaching(forgetRate: 0.2))
    }
    #expect(text.contains("co_teaching trains 2 networks; 1 models came"))
  }
}
