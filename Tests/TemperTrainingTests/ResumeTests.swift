import TemperCatalogue
import TemperCore
import TemperNetworks
import Testing

@testable import TemperTraining

struct ResumeTests {
  private static let network = "[{\"dense\": 12}, \"relu\", {\"dropout\": 0.3}, {\"dense\": 3}]"

  private func make(threads: Int = 1) throws -> Trainer {
    try makeTrainer(
      makeModel(ResumeTests.network, [4], seed: 5), loss: "early_learning_regularization", optimizer: "adam",
      threads: threads
    ) { $0.seed = 9 }
  }

  private let monitoring = Monitoring(.validationLoss, patience: 50, restoresBest: true)

  @discardableResult
  private func fit(_ trainer: Trainer, epochs: Int = 4, stopAfter steps: Int? = nil) throws -> History {
    var done = 0
    return try trainer.fit(
      clouds(70), epochs: epochs, validation: clouds(30, seed: 2), tests: [("other", clouds(20, seed: 3))],
      monitoring: monitoring,
      callbacks: Callbacks(step: { (_) throws(TemperError) in
        done += 1
        return done == steps ? .stop : .goOn
      }))
  }

  /// 5 steps an epoch: in the first epoch, at its end, within the second, at the last step of all.
  @Test(arguments: [1, 4, 5, 7, 10, 20]) func aResumedRunHasTheSameBits(steps: Int) throws {
    let whole = try make()
    let history = try fit(whole)
    #expect(history.ending == .finished && history.epochs.count == 4)

    let file = TemporaryFile("resume\(steps)")
    defer { file.remove() }
    let first = try make()
    #expect(try fit(first, stopAfter: steps).ending == .cancelled)
    try first.save(file.path)

    let second = try make()
    try second.resume(file.path)
    #expect(second.position.steps == steps)
    let resumed = try fit(second)
    #expect(figures(resumed) == figures(history))
    #expect(resumed.bestEpoch == history.bestEpoch)
    #expect(try bits(second) == bits(whole))

    // The cancelled trainer itself goes on to the same bits.
    #expect(figures(try fit(first)) == figures(history))
    #expect(try bits(first) == bits(whole))
  }

  @Test func checkpointsOfFitAreAsGood() throws {
    let file = TemporaryFile("policy")
    defer { file.remove() }
    let first = try make()
    try first.fit(clouds(70), epochs: 3, checkpoint: CheckpointPolicy(path: file.path, everyEpochs: 2))
    let second = try make()
    try second.resume(file.path)
    #expect(second.history.epochs.count == 3)
    #expect(try bits(second) == bits(first))
    try second.fit(clouds(70), epochs: 5)
    try first.fit(clouds(70), epochs: 5)
    #expect(try bits(second) == bits(first))
    #expect(figures(second.history) == figures(first.history))
  }

  /// Running statistics are part of a run, and a checkpoint may be written from a callback.
  @Test func runningStatisticsAreResumed() throws {
    func make() throws -> Trainer {
      try makeTrainer(makeModel("[{\"dense\": 8}, \"batch_norm\", \"relu\", {\"dense\": 3}]", [4]))
    }
    let file = TemporaryFile("statistics")
    defer { file.remove() }
    let whole = try make()
    let start = try bits(whole)
    let history = try whole.fit(
      clouds(70), epochs: 3, validation: clouds(30),
      callbacks: Callbacks(step: { (report) throws(TemperError) in
        if report.epoch == 2 && report.step == 3 { try whole.save(file.path) }
        return .goOn
      }))
    #expect(whole.weights.count == 3)
    for (before, after) in zip(start, try bits(whole)) { #expect(before != after) }
    let resumed = try make()
    try resumed.resume(file.path)
    #expect(resumed.position.steps == 8)
    #expect(figures(try resumed.fit(clouds(70), epochs: 3, validation: clouds(30))) == figures(history))
    #expect(try bits(resumed) == bits(whole))
  }

  @Test func aPathThatCannotBeWrittenIsAnError() throws {
    let trainer = try make()
    let text = message {
      try trainer.fit(clouds(70), epochs: 3, checkpoint: CheckpointPolicy(path: "/nowhere/at/all"))
    }
    #expect(text.contains("/nowhere/at/all") && trainer.history.epochs.count == 1)
    #expect(
      message { try trainer.fit(clouds(70), epochs: 3, checkpoint: CheckpointPolicy(path: "/tmp/x", everyEpochs: 0)) }
        .contains("0 came"))
    #expect(try trainer.fit(clouds(70), epochs: 3).epochs.count == 3)
  }

  @Test func aFinishedRunIsLeftAsItIs() throws {
    let trainer = try make()
    let history = try fit(trainer)
    let before = try bits(trainer)
    #expect(try fit(trainer) == history)
    #expect(try bits(trainer) == before)
  }

  /// Wide enough that products, rows and the update are cut into pieces.
  @Test func threadsDoNotChangeBits() throws {
    func run(_ threads: Int) throws -> ([[UInt64]], History) {
      let trainer = try makeTrainer(
        makeModel(
          "[{\"dense\": 300}, \"relu\", {\"dropout\": 0.1}, {\"dense\": 200}, \"tanh\", {\"dense\": 3}]", [300]),
        loss: "early_learning_regularization", threads: threads
      ) {
        $0.batchSize = 256
        $0.clipping.norm = 0.01
      }
      let history = try trainer.fit(clouds(600, features: 300), epochs: 2, validation: clouds(300, features: 300))
      return (try bits(trainer), history)
    }
    let (one, first) = try run(1)
    let (three, second) = try run(3)
    #expect(one == three)
    #expect(figures(first) == figures(second))
  }

  @Test func aCheckpointThatDoesNotFitSaysWhy() throws {
    let file = TemporaryFile("fit")
    defer { file.remove() }
    let made = try make()
    try fit(made, stopAfter: 7)
    try made.save(file.path)
    func refusal(_ other: Trainer) throws -> String {
      let before = try bits(other)
      let text = message { try other.resume(file.path) }
      #expect(try bits(other) == before && other.position.steps == 0)
      return text
    }
    func other(
      network: String = ResumeTests.network, dtype: DType = .float32, loss: String = "early_learning_regularization",
      optimizer: String = "adam", _ values: [(name: String, value: Value)] = [],
      _ adjust: (inout TrainerOptions) -> Void = { _ in }
    ) throws -> Trainer {
      try makeTrainer(makeModel(network, [4], dtype: dtype), loss: loss, optimizer: optimizer, values) {
        $0.seed = 9
        adjust(&$0)
      }
    }
    #expect(try refusal(other(network: "[{\"dense\": 3}]")).contains("its model is [{\"dense\": 12}"))
    #expect(try refusal(other(dtype: .float64)).contains("its dtype is float32, the trainer's is float64"))
    #expect(try refusal(other(loss: "cross_entropy")).contains("its loss is early_learning_regularization("))
    #expect(try refusal(other(optimizer: "sgd")).contains("its optimizer is adam("))
    #expect(try refusal(other(optimizer: "adam", [("learning_rate", .real(0.5))])).contains("learning_rate=0.5"))
    #expect(try refusal(other { $0.batchSize = 8 }).contains("its batch size is 16, the trainer's is 8"))
    #expect(try refusal(other { $0.seed = 8 }).contains("its seed is 9, the trainer's is 8"))
    #expect(try refusal(other { $0.clipping.norm = 1 }).contains("its clipping is"))
    try other().resume(file.path)

    // The same settings, but other data than the state by sample belongs to.
    let fitting = try make()
    try fitting.resume(file.path)
    #expect(
      message { try fitting.fit(clouds(71), epochs: 4) }.contains(
        "is kept with shape (70, 3), and these data need (71, 3)"))
    #expect(message { try fitting.fit(clouds(20), epochs: 4) }.contains("x has 20 samples"))
    #expect(message { try make().resume("/nowhere/at/all") }.contains("/nowhere/at/all"))
  }

  /// Each tensor left out, added or of another shape is an error, and so are impossible numbers. (History columns of
  /// measurements may be missing; what is kept by sample is held against the data in `fit`.)
  @Test func hostileCheckpointsAreErrorsAndChangeNothing() throws {
    let file = TemporaryFile("hostile")
    defer { file.remove() }
    let made = try make()
    try fit(made, stopAfter: 7)
    try made.save(file.path)
    let good = try Safetensors(reading: file.path)
    let victim = try make()
    let before = try bits(victim)
    func refused(_ changed: Safetensors) throws -> Bool {
      try changed.write(to: file.path)
      let text = message { try victim.resume(file.path) }
      return try !text.isEmpty && !text.hasPrefix("foreign") && bits(victim) == before && victim.position.steps == 0
    }
    for index in good.tensors.indices
    where !good.tensors[index].name.hasPrefix("kept.")
      && ![
        "history.other_accuracy", "history.validation_loss", "history.validation_accuracy", "history.other_loss",
        "history.multiplications",
      ].contains(good.tensors[index].name)
    {
      var changed = good
      changed.tensors.remove(at: index)
      #expect(try refused(changed), "without \(good.tensors[index].name)")
      changed = good
      changed.tensors[index].tensor = try Tensor(zeros: [3, 2], .float64)
      #expect(try refused(changed), "with another \(good.tensors[index].name)")
    }
    var changed = good
    changed.tensors.append(("stranger", try Tensor(zeros: [1])))
    #expect(try refused(changed))
    changed = good
    changed.metadata["format"] = "something else"
    #expect(try refused(changed))
    for (position, value) in [(0, 0.0), (0, 1e300), (1, -1), (2, 0.5), (4, .nan), (8, -3), (9, .infinity), (10, -1)] {
      changed = good
      let at = try #require(changed.tensors.firstIndex { $0.name == "run.progress" })
      var numbers = try changed.tensors[at].tensor.array(of: Double.self)
      numbers[position] = value
      changed.tensors[at].tensor = try Tensor(numbers)
      #expect(try refused(changed), "progress \(position) = \(value)")
    }
    // Of a version that did not count multiplications.
    changed = good
    let progress = try #require(changed.tensors.firstIndex { $0.name == "run.progress" })
    let numbers = try changed.tensors[progress].tensor.array(of: Double.self)
    changed.tensors[progress].tensor = try Tensor([Double](numbers.dropLast()))
    changed.tensors.removeAll { $0.name == "history.multiplications" }
    try changed.write(to: file.path)
    let older = try make()
    try older.resume(file.path)
    #expect(!older.history.epochs.isEmpty && older.history.epochs.allSatisfy { $0.multiplications.isNaN })
    changed = good
    let at = try #require(changed.tensors.firstIndex { $0.name == "run.order" })
    var order = try changed.tensors[at].tensor.array(of: Int32.self)
    order[3] = -1
    changed.tensors[at].tensor = try Tensor(order)
    #expect(try refused(changed))
    order[3] = 1_000_000
    changed.tensors[at].tensor = try Tensor(order)
    try changed.write(to: file.path)
    let other = try make()
    try other.resume(file.path)
    #expect(message { try fit(other) }.contains("sample 1000000"))
  }
}
