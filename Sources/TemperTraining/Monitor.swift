import TemperCore

/// What is compared from epoch to epoch to tell a better model from a worse one.
package enum Quantity: Int, Sendable, CaseIterable {
  case trainingLoss = 0
  case validationLoss = 1
  case validationAccuracy = 2

  func value(_ record: EpochRecord) -> Double? {
    switch self {
    case .trainingLoss: record.trainingLoss
    case .validationLoss: record.validation?.loss
    case .validationAccuracy: record.validation?.accuracy
    }
  }
}

/// Early stopping and keeping the best model.
package struct Monitoring: Sendable, Hashable {
  package var quantity: Quantity
  /// Epochs without an improvement after which training stops; nil never stops.
  package var patience: Int?
  /// An improvement is larger than this.
  package var minimumDelta: Double
  /// Whether the parameters of the best epoch are put back at the end.
  package var restoresBest: Bool

  package init(
    _ quantity: Quantity, patience: Int? = nil, minimumDelta: Double = 0, restoresBest: Bool = false
  ) {
    (self.quantity, self.patience) = (quantity, patience)
    (self.minimumDelta, self.restoresBest) = (minimumDelta, restoresBest)
  }

  func validate() throws(TemperError) {
    if let patience, patience < 1 {
      throw TemperError(.outOfRange, "patience is 1 epoch or more; \(patience) came.")
    }
    guard minimumDelta >= 0, minimumDelta.isFinite else {
      throw TemperError(.outOfRange, "The minimum delta is 0 or more and finite; \(minimumDelta) came.")
    }
  }
}

/// The best value so far and how long ago it was.
struct Monitor: Hashable {
  var best = Double.nan
  var bestEpoch = 0
  var stale = 0

  /// Takes an epoch in; whether it is the best so far. NaN is never an improvement, and anything improves on it.
  mutating func observe(_ value: Double, epoch: Int, _ monitoring: Monitoring) -> Bool {
    let gain = monitoring.quantity == .validationAccuracy ? value - best : best - value
    if value.isNaN || !(best.isNaN || gain > monitoring.minimumDelta) {
      stale += 1
      return false
    }
    (best, bestEpoch, stale) = (value, epoch, 0)
    return true
  }
}
