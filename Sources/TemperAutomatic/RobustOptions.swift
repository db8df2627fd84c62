import TemperCore

package struct RobustOptions: Sendable {
  /// Parts of the data that take turns in not being learnt from.
  package var folds = 4
  /// Width of the one hidden layer.
  package var hidden = 128
  /// At most so many; nil: enough for 1,500 steps, and at least 10.
  package var epochs: Int?
  /// nil: a tenth of the samples, from 16 to 128.
  package var batchSize: Int?
  /// Whether every class counts alike, however rare; nil: where one class has three times the samples of another.
  package var isBalanced: Bool?
  package var seed: UInt64 = 0

  package init() {}

  func validate() throws(TemperError) {
    guard (2...100).contains(folds) else { throw TemperError(.outOfRange, "folds is 2 to 100; \(folds) came.") }
    guard (1...65_536).contains(hidden) else {
      throw TemperError(.outOfRange, "hidden is 1 to 65536 units; \(hidden) came.")
    }
    if let epochs, epochs < 1 { throw TemperError(.outOfRange, "epochs is 1 or more; \(epochs) came.") }
    if let batchSize, batchSize < 1 { throw TemperError(.outOfRange, "batch_size is 1 or more; \(batchSize) came.") }
  }
}

/// Told how much of the whole work is done, 0 to 1, and what is being done; true stops.
package typealias RobustProgress = (_ done: Double, _ what: String) throws(TemperError) -> Bool
