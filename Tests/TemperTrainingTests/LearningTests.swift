import TemperCatalogue
import TemperCore
import TemperNetworks
import Testing

@testable import TemperTraining

struct LearningTests {
  @Test func aSeparableProblemIsLearned() throws {
    let model = try makeModel("[{\"dense\": 16}, \"relu\", {\"dense\": 3}]", [4])
    let trainer = try makeTrainer(model, optimizer: "adam", [("learning_rate", .real(0.01))])
    let history = try trainer.fit(clouds(300), epochs: 30, validation: clouds(90, seed: 2))
    #expect(history.ending == .finished)
    #expect(history.epochs.map(\.epoch) == Array(1...30))
    let (first, last) = (history.epochs[0], history.epochs[29])
    #expect(last.trainingLoss < 0.1 && last.trainingLoss < first.trainingLoss / 5)
    #expect(last.validation?.accuracy ?? 0 > 0.97)
    #expect(last.validation?.loss ?? 1 < 0.15)
  }

  /// Not linearly separable: the hidden layer must learn.
  @Test(arguments: [DType.float32, .float64]) func exclusiveOrIsLearned(type: DType) throws {
    let corners: [Float] = [0, 0, 0, 1, 1, 0, 1, 1]
    let x = try Tensor((0..<32).flatMap { _ in corners }, shape: [128, 2])
    let y = try Tensor((0..<32).flatMap { _ in [0, 1, 1, 0] as [Int32] })
    let model = try makeModel("[{\"dense\": 8}, \"tanh\", {\"dense\": 2}]", [2], dtype: type, seed: 3)
    let trainer = try makeTrainer(model, optimizer: "adam", [("learning_rate", .real(0.05))])
    let history = try trainer.fit(Dataset(x: x, y: y), epochs: 40, tests: [("itself", Dataset(x: x, y: y))])
    #expect(history.epochs.last?.tests.first?.measurement.accuracy == 1)
    #expect(history.epochs.last?.trainingLoss ?? 1 < 0.05)
  }

  /// Token ids in, class out: does a 7 occur before the padding (id 0)? The mask is made by the embedding.
  @Test func sequencesOfIndicesAreLearned() throws {
    func sequences(_ count: Int, seed: UInt64) throws -> Dataset {
      var random = Random(seed: seed)
      var (x, y): ([Int64], [Int64]) = ([], [])
      for _ in 0..<count {
        let length = 2 + random.below(5)
        let tokens = (0..<6).map { $0 < length ? Int64(1 + random.below(8)) : 0 }
        x += tokens
        y.append(tokens.contains(7) ? 1 : 0)
      }
      return Dataset(x: try Tensor(x, shape: [count, 6]), y: try Tensor(y))
    }
    let network = """
      [{"embedding": {"entries": 9, "size": 8, "padding_index": 0}},
       {"multi_head_attention": {"heads": 2, "key_mask": true}}, "flatten", {"dense": 2}]
      """
    let trainer = try makeTrainer(makeModel(network, [6]), optimizer: "adam", [("learning_rate", .real(0.01))]) {
      $0.batchSize = 32
    }
    let history = try trainer.fit(sequences(512, seed: 1), epochs: 40, validation: sequences(200, seed: 2))
    #expect(history.epochs.last?.validation?.accuracy ?? 0 > 0.95)
    var wrong = try sequences(20, seed: 3)
    wrong.x = try Tensor([Int64](repeating: 9, count: 120), shape: [20, 6])
    #expect(message { try trainer.evaluate(wrong) }.contains("from 0 to 8"))
  }

  /// A mask that comes with the data reaches attention: what it hides changes nothing.
  @Test func masksComeWithTheData() throws {
    let network = "[{\"multi_head_attention\": {\"heads\": 1, \"key_mask\": true}}, \"flatten\", {\"dense\": 2}]"
    let data = try clouds(24, features: 12, classes: 2)
    let x = try data.x.reshaped([24, 3, 4])
    let mask = try Tensor((0..<72).map { Float($0 % 3 == 2 ? 0 : 1) }, shape: [24, 3])
    func result(_ mask: Tensor) throws -> [[UInt64]] {
      let trainer = try makeTrainer(makeModel(network, [3, 4]))
      try trainer.fit(Dataset(x: x, y: data.y, inputs: ["mask": mask]), epochs: 2)
      return try bits(trainer)
    }
    let hidden = try result(mask)
    #expect(try result(mask.copy(as: .uint8)) == hidden)
    let open = try Tensor([Float](repeating: 1, count: 72), shape: [24, 3])
    #expect(try result(open) != hidden)
    let trainer = try makeTrainer(makeModel(network, [3, 4]))
    #expect(message { try trainer.fit(Dataset(x: x, y: data.y), epochs: 1) }.contains("\"mask\" of shape (24, 3)"))
  }

  /// Images of a horizontal or a vertical bar; statistics of batch normalization serve at evaluation.
  @Test func imagesAreLearned() throws {
    func bars(_ count: Int, seed: UInt64) throws -> Dataset {
      var random = Random(seed: seed)
      var (x, y): ([Float], [Int32]) = ([], [])
      for index in 0..<count {
        let place = random.below(6)
        for row in 0..<6 {
          for column in 0..<6 {
            let isBar = (index % 2 == 0 ? row : column) == place
            x.append((isBar ? 1 : 0) + Float(random.uniform()) * 0.4)
          }
        }
        y.append(Int32(index % 2))
      }
      return Dataset(x: try Tensor(x, shape: [count, 1, 6, 6]), y: try Tensor(y))
    }
    let network = """
      [{"conv2d": {"channels": 6, "kernel": 3}}, "batch_norm", "relu", "global_average_pool", {"dense": 2}]
      """
    let trainer = try makeTrainer(makeModel(network, [1, 6, 6]), optimizer: "adam", [("learning_rate", .real(0.02))])
    let history = try trainer.fit(bars(128, seed: 1), epochs: 15, validation: bars(64, seed: 2))
    #expect(history.epochs.last?.validation?.accuracy ?? 0 > 0.95)
  }
}
