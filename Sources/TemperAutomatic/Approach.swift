import TemperCatalogue

/// One way to train that the automatic mode tries.
struct Approach: Sendable {
  let name: String
  let loss: String
  var weightDecay = 0.0
  /// What is done otherwise than in plain training: a sampler, say.
  var procedure: String?
  /// Taken before plain training as soon as it does better at all, not only clearly: it was made for data like these,
  /// and its last epoch is as good as any before.
  var isTrusted = false
  /// P(given label | true class), which the loss looks through; a row for each true class. Such a loss learns wrong
  /// labels in the end, like plain training: it is trusted at its best end and never trained to the last.
  var transition: [Double]?

  /// The first is plain training.
  static let classification = [
    Approach(name: "cross_entropy", loss: "cross_entropy"),
    Approach(name: "early_learning_regularization", loss: "early_learning_regularization", isTrusted: true),
  ]
  /// Tried too where classes are of different sizes.
  static let imbalanced = [
    Approach(name: "logit_adjusted", loss: "logit_adjusted", weightDecay: 0.1, isTrusted: true),
    Approach(name: "class_balanced_sampling", loss: "cross_entropy", procedure: "class_balanced_sampling"),
  ]
  /// Tried too where most wrong labels of a class are of one other class, and again if that is better than the first time:
  /// what a round believes gives a better transition matrix to the next. Where wrong labels are spread evenly, a
  /// transition says nothing that a loss for wrong labels does not know.
  static let correctionRounds = 2

  static func correction(_ round: Int, _ transition: [Double]) -> Approach {
    Approach(
      name: round == 1 ? "forward_correction" : "forward_correction, round \(round)", loss: "forward_correction",
      isTrusted: true, transition: transition)
  }

  static let regression = [
    Approach(name: "mse", loss: "mse"),
    Approach(name: "mae with weight decay", loss: "mae", weightDecay: 5, isTrusted: true),
    Approach(name: "mse with weight decay", loss: "mse", weightDecay: 1),
    Approach(name: "huber", loss: "huber"),
    Approach(name: "mae", loss: "mae"),
    Approach(name: "tukey_biweight", loss: "tukey_biweight"),
  ]
}
