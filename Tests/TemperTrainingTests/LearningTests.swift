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
}
