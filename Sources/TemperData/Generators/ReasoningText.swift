import TemperCatalogue
import TemperCore

/// Texts with reasoning whose truth is known.
enum ReasoningText {
  static let all: [Method] = [TracedIntegers.method, SatisfiabilityText.method, WordProblems.method]

  static let count = Parameter.integer("count", 100, in: 1...1_000_000, "How many to make.")
}
