import TemperCore

/// What a step tells a callback.
package struct StepReport: Sendable, Hashable {
  /// From 1.
  package let epoch: Int, step: Int
  package let epochs: Int, stepsPerEpoch: Int
  /// Mean loss of this step's batch, before its update.
  package let loss: Double
  package let learningRate: Double
}

/// A callback's answer.
package enum Verdict: Sendable, Hashable {
  case goOn
  /// Stop between steps; what was done stays usable.
  case stop
}

/// Called on the thread that trains, between steps. A thrown error ends training as `stop` does, and is passed on.
package struct Callbacks {
  package var step: ((StepReport) throws(TemperError) -> Verdict)?
  package var epoch: ((EpochRecord) throws(TemperError) -> Verdict)?

  package init(
    step: ((StepReport) throws(TemperError) -> Verdict)? = nil,
    epoch: ((EpochRecord) throws(TemperError) -> Verdict)? = nil
  ) {
    (self.step, self.epoch) = (step, epoch)
  }
}
