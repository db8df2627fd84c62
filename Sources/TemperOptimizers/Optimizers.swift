import TemperCatalogue

/// Every optimizer and schedule of this room.
package enum Optimizers {
  package static let all: [Method] = momentumMethods + adaptiveMethods + schedules
}

extension Parameter {
  static func learningRate(_ value: Double) -> Parameter {
    .real("learning_rate", value, in: .nonNegative, "The length of a step.").named(also: "lr")
  }

  static func weightDecay(_ value: Double, _ summary: String) -> Parameter {
    .real("weight_decay", value, in: .nonNegative, summary)
  }
}
