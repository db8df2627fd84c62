import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import Testing

@testable import TemperTraining

/// Two dense layers with tanh between them, cross-entropy and SGD with momentum, in plain loops.
private struct Reference {
  var w1: [[Double]], b1: [Double], w2: [[Double]], b2: [Double]
  private var velocity: [Double]

  init(_ model: Model) throws {
    func matrix(_ index: Int) throws -> [[Double]] {
      let tensor = try #require(model.parameters[index].tensor)
      let (rows, columns) = (tensor.shape[0], tensor.shape[1])
      let values = try tensor.array(of: Double.self)
      return (0..<rows).map { Array(values[$0 * columns..<($0 + 1) * columns]) }
    }
    func vector(_ index: Int) throws -> [Double] {
      try #require(model.parameters[index].tensor).array(of: Double.self)
    }
    (w1, b1, w2, b2) = (try matrix(0), try vector(1), try matrix(2), try vector(3))
    velocity = [Double](repeating: 0, count: model.parameters.reduce(0) { $0 + $1.shape.count })
  }

  var parameters: [Double] { w1.flatMap { $0 } + b1 + w2.flatMap { $0 } + b2 }

  /// Mean loss of the batch, and the update.
  mutating func step(_ x: [[Double]], _ y: [Int], rate: Double, momentum: Double, clipNorm: Double?) -> Double {
    var (gw1, gb1) = (w1.map { $0.map { _ in 0.0 } }, b1.map { _ in 0.0 })
    var (gw2, gb2) = (w2.map { $0.map { _ in 0.0 } }, b2.map { _ in 0.0 })
    var total = 0.0
    for (row, label) in zip(x, y) {
      let h = zip(w1, b1).map { w, b in tanh(zip(w, row).reduce(b) { $0 + $1.0 * $1.1 }) }
      let z = zip(w2, b2).map { w, b in zip(w, h).reduce(b) { $0 + $1.0 * $1.1 } }
      let peak = z.max()!
      let e = z.map { exp($0 - peak) }
      let sum = e.reduce(0, +)
      total += log(sum) + peak - z[label]
      let dz = e.indices.map { (e[$0] / sum - ($0 == label ? 1 : 0)) / Double(x.count) }
      for (c, d) in dz.enumerated() {
        gb2[c] += d
        for j in h.indices { gw2[c][j] += d * h[j] }
      }
      for j in h.indices {
        let d = dz.indices.reduce(0.0) { $0 + dz[$1] * w2[$1][j] } * (1 - h[j] * h[j])
        gb1[j] += d
        for k in row.indices { gw1[j][k] += d * row[k] }
      }
    }
    var gradient = gw1.flatMap { $0 } + gb1 + gw2.flatMap { $0 } + gb2
    let norm = sqrt(gradient.reduce(0) { $0 + $1 * $1 })
    if let clipNorm, norm > clipNorm { gradient = gradient.map { $0 * clipNorm / norm } }
    velocity = zip(velocity, gradient).map { momentum * $0 + $1 }
    var moves = velocity.map { rate * $0 }[...]
    func move(_ value: inout Double) { value -= moves.removeFirst() }
    for i in w1.indices { for j in w1[i].indices { move(&w1[i][j]) } }
    for i in b1.indices { move(&b1[i]) }
    for i in w2.indices { for j in w2[i].indices { move(&w2[i][j]) } }
    for i in b2.indices { move(&b2[i]) }
    return total / Double(x.count)
  }
}

struct ReferenceTests {
  /// 22 samples in batches of 8, 8 and 6, three epochs, in float64.
  @Test(arguments: [nil, 0.05]) func trainingEqualsPlainLoops(clipNorm: Double?) throws {
    let data = try clouds(22, type: .float64)
    let model = try makeModel("[{\"dense\": 5}, \"tanh\", {\"dense\": 3}]", [4], dtype: .float64, seed: 7)
    var reference = try Reference(model)
    let trainer = try makeTrainer(
      model, optimizer: "sgd", [("learning_rate", .real(0.3)), ("momentum", .real(0.9))]
    ) {
      $0.batchSize = 8
      $0.seed = 11
      $0.clipping.norm = clipNorm
    }
    var losses: [Double] = []
    let history = try trainer.fit(
      data, epochs: 3,
      callbacks: Callbacks(step: { (report) throws(TemperError) in
        losses.append(report.loss)
        return .goOn
      }))

    let values = try data.x.array(of: Double.self)
    let labels = try #require(data.y).array(of: Int64.self).map { Int($0) }
    var expected: [Double] = []
    var epochLosses: [Double] = []
    for epoch in 1...3 {
      var shuffle = Random(seed: 11).stream("shuffle").stream(epoch)
      let order = shuffle.permutation(22)
      var sum = 0.0
      for start in stride(from: 0, to: 22, by: 8) {
        let ids = order[start..<min(start + 8, 22)]
        let loss = reference.step(
          ids.map { Array(values[$0 * 4..<($0 + 1) * 4]) }, ids.map { labels[$0] }, rate: 0.3, momentum: 0.9,
          clipNorm: clipNorm)
        expected.append(loss)
        sum += loss * Double(ids.count)
      }
      epochLosses.append(sum / 22)
    }
    func distance(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).map { abs($0 - $1) }.max() ?? .infinity }
    #expect(losses.count == 9 && distance(losses, expected) < 1e-12)
    #expect(distance(history.epochs.map(\.trainingLoss), epochLosses) < 1e-12)
    let trained = try model.parameters.flatMap { try #require($0.tensor).array(of: Double.self) }
    #expect(distance(trained, reference.parameters) < 1e-12)
    #expect(trained.count == reference.parameters.count)
  }

  /// With a learning rate of 1 and no momentum the parameters move by the clipped gradient.
  @Test func gradientsAreClippedByValue() throws {
    let data = try clouds(16, type: .float64)
    func moves(_ clipping: GradientClipping) throws -> [Double] {
      let model = try makeModel("[{\"dense\": 3}]", [4], dtype: .float64)
      let before = try model.flat.array(of: Double.self)
      let trainer = try makeTrainer(model, optimizer: "sgd", [("learning_rate", .real(1))]) { $0.clipping = clipping }
      try trainer.fit(data, epochs: 1)
      return zip(try model.flat.array(of: Double.self), before).map { $0 - $1 }
    }
    let free = try moves(GradientClipping())
    let bound = 0.02
    #expect(free.contains { abs($0) > bound } && free.contains { $0 != 0 && abs($0) < bound })
    for (a, b) in zip(try moves(GradientClipping(value: bound)), free) {
      #expect(abs(a - min(max(b, -bound), bound)) < 1e-15)
    }
    let norm = sqrt(free.reduce(0) { $0 + $1 * $1 })
    for (a, b) in zip(try moves(GradientClipping(norm: norm / 4)), free) { #expect(abs(a - b / 4) < 1e-15) }
    for (a, b) in zip(try moves(GradientClipping(norm: norm * 4)), free) { #expect(abs(a - b) < 1e-15) }
  }

  @Test func theScheduleSetsTheLearningRateOfEachStep() throws {
    let method = try catalogue.find("cosine", kinds: [.schedule])
    let schedule = try ScheduleInstance(method, Arguments([], for: method.parameters))
    let trainer = try makeTrainer(makeModel("[{\"dense\": 3}]", [4]), schedule: schedule)
    var rates: [Double] = []
    let history = try trainer.fit(
      clouds(48), epochs: 2,
      callbacks: Callbacks(step: { (report) throws(TemperError) in
        rates.append(report.learningRate)
        return .goOn
      }))
    #expect(rates == (0..<6).map { schedule.value(at: Double($0)) } && Set(rates).count > 1)
    #expect(history.epochs.map(\.learningRate) == [rates[2], rates[5]])
  }

  /// A rule that is not element-wise sees each parameter by itself: w <- w - lr g / |g|.
  @Test func otherRulesRunParameterByParameter() throws {
    let rule = Method(
      "normalized_descent", kind: .optimizer, area: "test", summary: "Steps of one length for each parameter.",
      parameters: [.real("learning_rate", 0.1, "The length.")],
      implementation: .update { x in
        let steps = x.state("steps", initial: 5)
        x.set("steps", to: steps + 1.0)
        return x.parameter - x.learningRate * x.gradient / sqrt(square(x.gradient).sumAll())
      })
    let model = try makeModel("[{\"dense\": 6}, \"tanh\", {\"dense\": 3}]", [4], dtype: .float64)
    let before = try model.parameters.map { try #require($0.tensor).array(of: Double.self) }
    let workers = Workers(count: 1)
    var options = TrainerOptions()
    options.batchSize = 32
    let trainer = try Trainer(
      [model], loss: makeLoss("cross_entropy"), optimizer: rule, Arguments([], for: rule.parameters), options: options,
      workers: workers)
    try trainer.fit(clouds(32, type: .float64), epochs: 1)
    for (old, variable) in zip(before, model.parameters) {
      let new = try #require(variable.tensor).array(of: Double.self)
      let length = sqrt(zip(old, new).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) })
      #expect(abs(length - 0.1) < 1e-12)
    }
    let states = trainer.networks[0].optimizerStates
    #expect(states.map { $0.name } == ["0.steps", "1.steps", "2.steps", "3.steps"])
    #expect(try states[0].tensor.array(of: Double.self) == [Double](repeating: 6, count: 24))
  }
}
