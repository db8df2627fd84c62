import Glibc
import TemperCatalogue
import TemperCore
import TemperNetworks
import Testing

@testable import TemperTraining

struct DataTests {
  private func make(_ name: String = "cross_entropy", _ values: [(name: String, value: Value)] = []) throws -> Trainer {
    try makeTrainer(makeModel("[{\"dense\": 3}]", [4]), loss: name, values)
  }

  @Test func badInputsAreErrorsThatSayWhatIsWrong() throws {
    let good = try clouds(20)
    let (x, y) = (good.x, try #require(good.y))
    func refusal(_ x: Tensor, _ y: Tensor?, _ inputs: [String: Tensor] = [:], loss: String = "cross_entropy") throws
      -> String
    {
      let trainer = try make(loss)
      let before = try bits(trainer)
      let text = message { try trainer.fit(Dataset(x: x, y: y, inputs: inputs), epochs: 1) }
      #expect(try bits(trainer) == before)
      #expect(text.contains("In the training data: "), "\(text)")
      return text
    }
    #expect(try refusal(x.slice(0..<19), y).contains("N=19"))
    #expect(try refusal(x.slice(0..<3, axis: 1), y).contains("(20, 3)"))
    #expect(try refusal(x.slice(0..<0), y.slice(0..<0)).contains("x has shape (0, 4)"))
    #expect(try refusal(x, nil).contains("targets"))
    #expect(try refusal(x, y.copy(as: .float32)).contains("float32"))
    #expect(try refusal(x, y, ["sample_weights": Tensor(zeros: [19])]).contains("sample_weights"))
    #expect(try refusal(x, y, ["nonsense": Tensor(zeros: [20])]).contains("nonsense"))
    #expect(try refusal(x, y, ["targets": y]).contains("twice"))
    for (type, label) in [(DType.int64, Int64(3)), (.int32, -1), (.uint8, 200), (.int64, 1 << 40)] {
      var labels = try y.array(of: Int64.self)
      labels[7] = label
      let wrong = try Tensor(labels).copy(as: type)
      #expect(try refusal(x, wrong).contains("element 7 is \(label)"), "\(label)")
    }
    for bad in [Float.nan, .infinity, -.infinity] {
      var values = try x.array(of: Float.self)
      values[4 * 11 + 2] = bad
      #expect(try refusal(Tensor(values, shape: x.shape), y).contains("x is NaN or infinite at sample 11, element 2"))
    }
    var soft = [Float](repeating: 1.0 / 3, count: 60)
    soft[31] = .nan
    #expect(try refusal(x, Tensor(soft, shape: [20, 3])).contains("y is NaN or infinite at sample 10, element 1"))

    let trainer = try make()
    #expect(message { try trainer.fit(good, epochs: -1) }.contains("-1"))
    #expect(
      message { try trainer.fit(good, epochs: 1, validation: Dataset(x: x, y: nil)) }.contains(
        "In the validation data: "))
    #expect(
      message { try trainer.fit(good, epochs: 1, tests: [("a", good), ("a", good)]) }.contains("a name of its own"))
    #expect(message { try trainer.fit(good, epochs: 1, monitoring: Monitoring(.validationLoss)) }.contains("needs one"))
    #expect(
      message { try trainer.fit(good, epochs: 1, monitoring: Monitoring(.trainingLoss, patience: 0)) }.contains(
        "0 came"))
    let regression = try make("mse")
    let numbers = Dataset(x: x, y: try Tensor(zeros: [20, 3]))
    #expect(
      message {
        try regression.fit(numbers, epochs: 1, validation: numbers, monitoring: Monitoring(.validationAccuracy))
      }.contains("no accuracy"))
    #expect(message { _ = try self.trainerWith { $0.batchSize = 0 } }.contains("0 came"))
    #expect(message { _ = try self.trainerWith { $0.clipping.value = -1 } }.contains("-1.0 came"))
    #expect(message { _ = try self.trainerWith { $0.clipping.norm = .nan } }.contains("nan came"))
    #expect(
      message {
        try self.trainerWith {
          $0.batchSize = 64
          $0.dropsLast = true
        }.fit(good, epochs: 1)
      }.contains("no batch of 64"))
    #expect(
      message { try makeTrainer(makeModel("[\"relu\"]", [3])).fit(clouds(20, features: 3), epochs: 1) }.contains(
        "parameter"))
    let packed = try Model(
      Description(parsing: "[{\"dense\": 3}]"), input: [4], catalogue: catalogue, absent: ["0.weight"])
    #expect(message { _ = try makeTrainer(packed) }.contains("packed weights"))
    let shared = try makeModel("[{\"dense\": 3}]", [4])
    #expect(message { _ = try makeTrainer(shared, peers: [shared]) }.contains("2 models came"))
  }

  private func trainerWith(_ adjust: (inout TrainerOptions) -> Void) throws -> Trainer {
    try makeTrainer(makeModel("[{\"dense\": 3}]", [4]), adjust: adjust)
  }

  @Test func dataThatIsNotFiniteCanBeAllowed() throws {
    let data = try clouds(20)
    var values = try data.x.array(of: Float.self)
    values[4 * 11] = .nan
    let broken = Dataset(x: try Tensor(values, shape: data.x.shape), y: data.y)
    let failing = try trainerWith { $0.allowsNonFiniteData = true }
    let text = message { try failing.fit(broken, epochs: 3) }
    #expect(text.contains("The loss is not finite at epoch 1, step "))
    #expect(try bits(failing).allSatisfy { $0.allSatisfy { Double(bitPattern: $0).isFinite } })
    let skipping = try trainerWith {
      $0.allowsNonFiniteData = true
      $0.nonFinite = .skip
    }
    let history = try skipping.fit(broken, epochs: 3)
    #expect(history.epochs.count == 3 && skipping.position.steps == 6)
    #expect(history.epochs.allSatisfy { $0.trainingLoss.isFinite })
    #expect(try bits(skipping).allSatisfy { $0.allSatisfy { Double(bitPattern: $0).isFinite } })
  }

  /// Whatever the layout and type of the arrays, the bits are the same.
  @Test func layoutAndTypeDoNotMatter() throws {
    let data = try clouds(40)
    let y = try #require(data.y)
    func result(_ x: Tensor, _ y: Tensor) throws -> [[UInt64]] {
      let trainer = try make()
      try trainer.fit(Dataset(x: x, y: y), epochs: 2)
      return try bits(trainer)
    }
    let expected = try result(data.x, y)
    #expect(try result(data.x.copy(as: .float64), y.copy(as: .int32)) == expected)
    let columns = try data.x.permuted([1, 0]).copy().permuted([1, 0])
    #expect(!columns.isDense)
    #expect(try result(columns, y.copy(as: .uint8)) == expected)
  }

  @Test func theLastBatchMayBeShortOrLeftOut() throws {
    for (drops, steps) in [(false, 3), (true, 2)] {
      let trainer = try trainerWith { $0.dropsLast = drops }
      try trainer.fit(clouds(40), epochs: 2)
      #expect(trainer.position.steps == 2 * steps)
    }
    let single = try trainerWith { $0.batchSize = 64 }
    try single.fit(clouds(40), epochs: 2)
    #expect(single.position.steps == 2)
  }

  @Test func numbersAreFittedToo() throws {
    var random = Random(seed: 4)
    let x = try Tensor((0..<400).map { _ in random.uniform() - 0.5 }, shape: [200, 2])
    let rows = try x.array(of: Double.self)
    let y = try Tensor((0..<200).map { (row: Int) -> Double in 3 * rows[2 * row] - rows[2 * row + 1] + 0.25 })
    for shape in [[200], [200, 1]] as [Shape] {
      let model = try makeModel("[{\"dense\": 1}]", [2], dtype: .float64)
      let trainer = try makeTrainer(model, loss: "mse", optimizer: "sgd", [("learning_rate", .real(0.5))])
      let data = Dataset(x: x, y: try y.reshaped(shape))
      let history = try trainer.fit(data, epochs: 60, validation: data)
      #expect(history.epochs.last?.validation?.loss ?? 1 < 1e-6)
      #expect(history.epochs.last?.validation?.accuracy == nil)
      let weight = try #require(model.parameters[0].tensor).array(of: Double.self)
      #expect(abs(weight[0] - 3) < 1e-2 && abs(weight[1] + 1) < 1e-2)
    }
  }

  /// Weights by sample, weights by class and ignored targets against the loss called by itself.
  @Test func inputsOfTheLossReachIt() throws {
    let data = try clouds(30, type: .float64)
    let weights = try Tensor((0..<30).map { Double($0 % 4) })
    let classWeights = try Tensor([1.0, 2, 0.5])
    var labels = try #require(data.y).array(of: Int64.self)
    labels[5] = -100
    let ignoring = Dataset(x: data.x, y: try Tensor(labels))
    for (data, inputs) in [
      (data, ["sample_weights": weights]), (data, ["class_weights": classWeights]),
      (data, ["sample_weights": weights, "class_weights": classWeights]), (ignoring, [:]),
    ] as [(Dataset, [String: Tensor])] {
      let model = try makeModel("[{\"dense\": 3}]", [4], dtype: .float64)
      let trainer = try makeTrainer(model, optimizer: "sgd", [("learning_rate", .real(0))]) { $0.batchSize = 30 }
      let logits = try model.predict(data.x, workers: Workers(count: 1))
      let given = inputs.merging(["logits": logits, "targets": try #require(data.y)]) { a, _ in a }
      let (value, _) = try makeLoss("cross_entropy").valueAndGradient(given)
      let whole = Dataset(x: data.x, y: data.y, inputs: inputs)
      let history = try trainer.fit(whole, epochs: 1)
      #expect(abs((history.epochs[0].trainingLoss) - value.number) < 1e-12)
      #expect(abs(try trainer.evaluate(whole).loss - value.number) < 1e-12)
    }
  }

  /// Accuracy of class ids, of probabilities, and with ignored targets, counted by hand.
  @Test func accuracyCountsTheRightAnswers() throws {
    let data = try clouds(30)
    let y = try #require(data.y).array(of: Int64.self)
    let trainer = try make()
    let logits = try trainer.networks[0].model.predict(data.x, workers: Workers(count: 1)).array(of: Float.self)
    let right = y.indices.filter { row in
      let scores = Array(logits[3 * row..<3 * row + 3])
      return Int64(scores.firstIndex(of: scores.max()!)!) == y[row]
    }
    #expect(try trainer.evaluate(data).accuracy == Double(Float(right.count)) / 30)
    let soft = y.flatMap { label in (0..<3).map { Float(Int64($0) == label ? 0.8 : 0.1) } }
    let probabilities = Dataset(x: data.x, y: try Tensor(soft, shape: [30, 3]))
    #expect(try trainer.evaluate(probabilities).accuracy == Double(right.count) / 30)
    var labels = y
    for row in 0..<10 { labels[row] = -100 }
    let rest = Double(right.count { $0 >= 10 }) / 20
    #expect(try trainer.evaluate(Dataset(x: data.x, y: Tensor(labels))).accuracy == rest)
  }

  /// One pass without moving: the target table holds (1 - beta) p_i at row i, whatever the order of the visits.
  @Test func earlyLearningStateFollowsTheSampleId() throws {
    let data = try clouds(40, type: .float64)
    let model = try makeModel("[{\"dense\": 3}]", [4], dtype: .float64)
    let trainer = try makeTrainer(
      model, loss: "early_learning_regularization", [("beta", .real(0.7))], optimizer: "sgd",
      [("learning_rate", .real(0))])
    let logits = try model.predict(data.x, workers: Workers(count: 1)).array(of: Double.self)
    for epoch in 1...2 {
      try trainer.fit(data, epochs: epoch)
      let kept = try #require(trainer.run.kept.first)
      #expect(kept.tensor.shape == [40, 3] && trainer.run.kept.count == 1)
      let table = try kept.tensor.array(of: Double.self)
      for row in 0..<40 {
        let e = (0..<3).map { exp(logits[3 * row + $0]) }
        for c in 0..<3 {
          let p = e[c] / e.reduce(0, +)
          #expect(abs(table[3 * row + c] - (1 - pow(0.7, Double(epoch))) * p) < 1e-12)
        }
      }
    }
  }

  @Test func valuesThatDivergeNameTheStep() throws {
    let model = try makeModel("[{\"dense\": 3}]", [4])
    let trainer = try makeTrainer(model, loss: "mse", optimizer: "sgd", [("learning_rate", .real(1e18))])
    let data = Dataset(x: try clouds(40).x, y: try Tensor(zeros: [40, 3]))
    let text = message { try trainer.fit(data, epochs: 5) }
    #expect(text.contains("is not finite at epoch 1, step 2") || text.contains("is not finite at epoch 1, step 3"))
    #expect(try model.flat.array(of: Float.self).allSatisfy(\.isFinite))
  }

  /// A call that fails before its first step leaves a trainer that takes other data.
  @Test func afterAFailureOtherDataMayCome() throws {
    let data = try clouds(40)
    let broken = Dataset(x: try Tensor([Float](repeating: .nan, count: 160), shape: [40, 4]), y: data.y)
    let model = try makeModel("[{\"dense\": 3}]", [4])
    let trainer = try makeTrainer(model, loss: "early_learning_regularization") { $0.allowsNonFiniteData = true }
    #expect(message { try trainer.fit(broken, epochs: 2) }.contains("epoch 1, step 1"))
    #expect(try trainer.fit(clouds(25), epochs: 2).epochs.count == 2)
    #expect(trainer.run.kept.map(\.tensor.shape) == [[25, 3]])
  }

  @Test func sumsOfSquaresDoNotDependOnThreads() throws {
    var random = Random(seed: 3)
    for count in [0, 1, 31, 32, 33, 1000, 200_003] {
      let values = (0..<count).map { _ in random.uniform() - 0.5 }
      for type in [DType.float32, .float64] {
        let tensor = try Tensor(values).copy(as: type)
        var partial = [Double](repeating: 0, count: count / (1 << 16) + 1)
        let one = tensor.sumOfSquares(Workers(count: 1), partial: &partial)
        #expect(tensor.sumOfSquares(Workers(count: 3), partial: &partial) == one)
        let expected = try tensor.array(of: Double.self).reduce(0) { $0 + $1 * $1 }
        #expect(abs(one - expected) <= 1e-12 * max(expected, 1))
        #expect(tensor.firstNotFinite == nil)
        for place in [0, count / 2, count - 1] where count > 0 {
          var broken = values
          broken[place] = .nan
          if place + 1 < count { broken[place + 1] = .infinity }
          #expect(try Tensor(broken).copy(as: type).firstNotFinite == place)
        }
      }
    }
  }

  @Test func rowsGoOutAndComeBack() throws {
    for width in [1, 3, 700] {
      let table = try Tensor((0..<(500 * width)).map { Float($0) }, shape: [500, width])
      let batch = try Tensor(zeros: [300, width])
      let rows = Rows(table: table, batch: batch)
      let order = (0..<400).map { Int32(($0 * 7 + 3) % 500) }
      rows.gather(order, from: 50, Workers(count: 2))
      let expected = order[50..<350].flatMap { id in (0..<width).map { Float(Int(id) * width + $0) } }
      #expect(try batch.array(of: Float.self) == expected)
      try batch.fill(-1)
      rows.scatter(order, from: 50)
      let visited = Set(order[50..<350])
      let after = try table.array(of: Float.self)
      #expect(
        (0..<500).allSatisfy { id in
          (0..<width).allSatisfy {
            after[id * width + $0] == (visited.contains(Int32(id)) ? -1 : Float(id * width + $0))
          }
        })
    }
  }
}
