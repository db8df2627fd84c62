import TemperCatalogue
import TemperCore
import TemperNetworks
import Testing

@testable import TemperTraining

struct MonitorTests {
  @Test func improvementsAreLargerThanTheDelta() {
    var monitor = Monitor()
    let lower = Monitoring(.validationLoss, patience: 2, minimumDelta: 0.1)
    let seen = [Double.nan, 1, 0.95, 0.89, .nan, 0.88, 0.7].enumerated().map { epoch, value in
      monitor.observe(value, epoch: epoch + 1, lower)
    }
    #expect(seen == [false, true, false, true, false, false, true])
    #expect(monitor.best == 0.7 && monitor.bestEpoch == 7 && monitor.stale == 0)
    var higher = Monitor()
    let accuracy = Monitoring(.validationAccuracy)
    #expect(
      [0.5, 0.5, 0.6, 0.4].enumerated().map { higher.observe($1, epoch: $0 + 1, accuracy) }
        == [true, false, true, false])
    #expect(higher.bestEpoch == 3 && higher.stale == 1)
  }

  /// A learning rate that soon makes things worse: training stops, and the best epoch's weights come back.
  @Test func trainingStopsEarlyAndRestoresTheBest() throws {
    let (data, validation) = (try clouds(64, spread: 1.5), try clouds(60, spread: 1.5, seed: 2))
    func run(_ restores: Bool, epochs: Int) throws -> (Trainer, History) {
      let trainer = try makeTrainer(
        makeModel("[{\"dense\": 32}, \"relu\", {\"dense\": 3}]", [4]), optimizer: "adam",
        [("learning_rate", .real(0.05))])
      let monitoring = Monitoring(.validationLoss, patience: 3, restoresBest: restores)
      return (trainer, try trainer.fit(data, epochs: epochs, validation: validation, monitoring: monitoring))
    }
    let (trainer, history) = try run(true, epochs: 100)
    #expect(history.ending == .stoppedEarly)
    let losses = history.epochs.map { $0.validation?.loss ?? .nan }
    let best = try #require(losses.indices.min { losses[$0] < losses[$1] })
    #expect(history.bestEpoch == best + 1 && losses.count == best + 4)
    #expect(try trainer.evaluate(validation).loss == losses[best])
    // The same as a run that ended there by itself.
    let (shorter, _) = try run(false, epochs: best + 1)
    #expect(try bits(shorter)[0] == bits(trainer)[0])
    let (last, _) = try run(false, epochs: 100)
    #expect(try last.evaluate(validation).loss == losses.last)
    #expect(losses[best] < losses[losses.count - 1])
    // Having stopped, it stays stopped.
    let monitoring = Monitoring(.validationLoss, patience: 3)
    #expect(
      try trainer.fit(data, epochs: 100, validation: validation, monitoring: monitoring).epochs.count == losses.count)
  }

  @Test func cancellingLeavesAWholeTrainer() throws {
    let trainer = try makeTrainer(makeModel("[{\"dense\": 3}]", [4]))
    var reports: [StepReport] = []
    let history = try trainer.fit(
      clouds(70), epochs: 5,
      callbacks: Callbacks(step: { (report) throws(TemperError) in
        reports.append(report)
        return reports.count == 8 ? .stop : .goOn
      }))
    #expect(history.ending == .cancelled && history.epochs.count == 1)
    #expect(reports.map(\.epoch) == [1, 1, 1, 1, 1, 2, 2, 2] && reports.map(\.step) == [1, 2, 3, 4, 5, 1, 2, 3])
    #expect(reports.allSatisfy { $0.epochs == 5 && $0.stepsPerEpoch == 5 && $0.loss > 0 })
    #expect(try trainer.evaluate(clouds(30)).loss.isFinite)

    var epochs: [Int] = []
    let second = try trainer.fit(
      clouds(70), epochs: 5,
      callbacks: Callbacks(epoch: { (record) throws(TemperError) in
        epochs.append(record.epoch)
        return epochs.count == 2 ? .stop : .goOn
      }))
    #expect(epochs == [2, 3] && second.ending == .cancelled && second.epochs.count == 3)

    let text = message {
      try trainer.fit(
        clouds(70), epochs: 5,
        callbacks: Callbacks(step: { (_) throws(TemperError) in throw TemperError(.cancelled, "Enough.") }))
    }
    #expect(text == "Enough." && trainer.position.step == 1)
    #expect(try trainer.fit(clouds(70), epochs: 5).epochs.count == 5)
  }
}
