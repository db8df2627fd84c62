import TemperCatalogue
import TemperCore

/// What happens at a step whose loss or gradient is not finite. Nothing of such a step is ever written.
package enum NonFinitePolicy: String, Sendable, Hashable, CaseIterable {
  /// An error that names epoch and step.
  case fail
  /// The step changes nothing and training goes on.
  case skip
}

package struct TrainerOptions: Sendable, Hashable {
  package var batchSize = 128
  package var seed: UInt64 = 0
  package var clipping = GradientClipping()
  /// Whether a last batch with fewer samples is left out.
  package var dropsLast = false
  package var nonFinite = NonFinitePolicy.fail
  /// Whether NaN and infinity in the data are let through.
  package var allowsNonFiniteData = false

  package init() {}

  func validate() throws(TemperError) {
    guard batchSize >= 1, batchSize <= Int(Int32.max) else {
      throw TemperError(.outOfRange, "The batch size is 1 or more and fits 31 bits; \(batchSize) came.")
    }
    try clipping.validate()
  }
}
