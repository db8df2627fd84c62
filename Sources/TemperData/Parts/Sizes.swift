import TemperCore

extension TemperError {
  /// A result of more elements than this is a mistake in the numbers that were given, not a wish.
  private static let mostElements = 1 << 30

  /// What parameters multiply must stay within memory: `factors` are the sizes of what is about to be made.
  package static func needsRoom(for factors: Int..., what: String) throws(TemperError) {
    var count = 1
    for factor in factors {
      let (product, overflow) = count.multipliedReportingOverflow(by: max(factor, 0))
      guard !overflow, product <= mostElements else {
        throw TemperError(
          .outOfMemory, "\(what) would have more than \(mostElements) numbers; lower what they follow from.")
      }
      count = product
    }
  }
}
