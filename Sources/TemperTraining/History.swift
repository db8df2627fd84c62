import TemperCore

/// What one epoch came to.
package struct EpochRecord: Sendable, Hashable {
  /// 1 for the first.
  package var epoch: Int
  /// Mean over the samples of the epoch's steps, each measured before its update.
  package var trainingLoss: Double
  package var validation: Measurement?
  /// By test set, in the order in which they were given.
  package var tests: [TestRecord] = []
  /// Of the epoch's last step.
  package var learningRate: Double
  package var seconds: Double
  /// Those of matrix products and convolutions and of what is solved with matrices, evaluations included; NaN where
  /// the epoch comes from a checkpoint that does not tell.
  package var multiplications: Double
}

/// Mean loss and accuracy on a set of samples.
package struct Measurement: Sendable, Hashable {
  package var loss: Double
  /// Share of samples whose largest output is at the target's class; nil where there are no classes.
  package var accuracy: Double?
}

package struct TestRecord: Sendable, Hashable {
  package var name: String
  package var measurement: Measurement
}

/// Why training came to its end.
package enum Ending: Sendable, Hashable {
  /// All epochs are done.
  case finished
  /// The monitored quantity has not improved for `patience` epochs.
  case stoppedEarly
  /// A callback asked for it; training can go on from here.
  case cancelled
}

/// The epochs of a run so far.
package struct History: Sendable, Hashable {
  package var epochs: [EpochRecord] = []
  /// Epoch (from 1) with the best monitored quantity; 0 while nothing is monitored.
  package var bestEpoch = 0
  package var ending = Ending.finished

  package init() {}
}

/// As columns of numbers, one entry an epoch, NaN where an epoch has none: for files and other languages.
extension History {
  private static let own = ["training_loss", "learning_rate", "seconds", "multiplications"]
  private static let validation = "validation"

  /// Names of test sets become names of columns.
  static func validate(testNames: [String]) throws(TemperError) {
    for (index, name) in testNames.enumerated() {
      guard !name.isEmpty, name != "training", name != validation, !testNames[..<index].contains(name) else {
        throw TemperError(
          .invalidArgument,
          "Each test set has a name of its own, other than \"training\" and \"validation\"; \"\(name)\" came.")
      }
    }
  }

  package var columns: [(name: String, values: [Double])] {
    var columns = [
      (History.own[0], epochs.map(\.trainingLoss)), (History.own[1], epochs.map(\.learningRate)),
      (History.own[2], epochs.map(\.seconds)), (History.own[3], epochs.map(\.multiplications)),
    ]
    func add(_ name: String, _ measurements: [Measurement?]) {
      guard measurements.contains(where: { $0 != nil }) else { return }
      columns.append((name + "_loss", measurements.map { $0?.loss ?? .nan }))
      guard measurements.contains(where: { $0?.accuracy != nil }) else { return }
      columns.append((name + "_accuracy", measurements.map { $0?.accuracy ?? .nan }))
    }
    add(History.validation, epochs.map(\.validation))
    var names: [String] = []
    for test in epochs.flatMap(\.tests) where !names.contains(test.name) { names.append(test.name) }
    for name in names { add(name, epochs.map { $0.tests.first { $0.name == name }?.measurement }) }
    return columns
  }

  /// The inverse; nil if columns are missing or of different lengths.
  init?(columns: [(name: String, values: [Double])]) {
    func column(_ name: String) -> [Double]? { columns.first { $0.name == name }?.values }
    guard let losses = column(History.own[0]), let rates = column(History.own[1]),
      let seconds = column(History.own[2]), columns.allSatisfy({ $0.values.count == losses.count })
    else { return nil }
    func measurement(_ name: String, _ epoch: Int) -> Measurement? {
      guard let loss = column(name + "_loss")?[epoch] else { return nil }
      let accuracy = column(name + "_accuracy").map { $0[epoch] }
      if loss.isNaN && accuracy?.isNaN ?? true { return nil }
      return Measurement(loss: loss, accuracy: accuracy.flatMap { $0.isNaN ? nil : $0 })
    }
    let suffix = "_loss"
    let tests = columns.map(\.name).filter { $0.hasSuffix(suffix) && !History.own.contains($0) }
      .map { String($0.dropLast(suffix.count)) }.filter { $0 != History.validation }
    epochs = losses.indices.map { index in
      EpochRecord(
        epoch: index + 1, trainingLoss: losses[index], validation: measurement(History.validation, index),
        tests: tests.compactMap { name in measurement(name, index).map { TestRecord(name: name, measurement: $0) } },
        learningRate: rates[index], seconds: seconds[index],
        multiplications: column(History.own[3])?[index] ?? .nan)
    }
  }
}
