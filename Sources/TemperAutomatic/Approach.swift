/// One way to train that the automatic mode tries.
struct Approach: Sendable {
  let name: String
  let loss: String
  /// Of AdamW, where an epoch has at most twelve steps; see `Trials.train`.
  var weightDecay = 0.0
  /// Taken before plain training as soon as it does better at all, not only clearly: it was made for data like these,
  /// and its last epoch is as good as any before.
  var isTrusted = false
  /// The ends that are compared, as parts of all epochs: stopping early is a way to leave wrong labels unlearnt.
  var parts = [16, 8, 4, 2, 1]
  /// P(given label | true class), which the loss looks through; a row for each true class. Such a loss learns wrong
  /// labels in the end, like plain training: it is trusted at its best end and never trained to the last.
  var transition: [Double]?

  static let plain = Approach(name: "cross_entropy", loss: "cross_entropy")
  /// Tried where labels look wrong.
  static let robust = Approach(
    name: "early_learning_regularization", loss: "early_learning_regularization", weightDecay: 1, isTrusted: true)
  /// Tried where classes are of different sizes.
  static let imbalanced = Approach(name: "logit_adjusted", loss: "logit_adjusted", weightDecay: 2, isTrusted: true)
  /// The same where some class has fewer than `enough` samples: of them held-out scores say nothing, so that nothing is
  /// chosen by scores. A few samples are learnt early, and by heart after that.
  static let rare = Approach(
    name: imbalanced.name, loss: imbalanced.loss, weightDecay: imbalanced.weightDecay, isTrusted: true, parts: [4])
  /// With ten samples of a class the error of its accuracy is 0.16 at most.
  static let enough = 10
  /// Shares of labels that look wrong: with fewer than `few` there is nothing to correct; with more than `many` plain
  /// training is not taken for being as good as what was made for wrong labels.
  static let few = 0.02
  static let many = 0.2

  /// Tried too where most wrong labels of a class are of one other class, by this share of what can be; and again if that is
  /// better than the first time: what a round believes gives a better transition matrix to the next. Where wrong labels
  /// are spread evenly, a transition says nothing that a loss for wrong labels does not know.
  static let leastConcentration = 0.4
  static let correctionRounds = 2

  static func correction(_ round: Int, _ transition: [Double]) -> Approach {
    Approach(
      name: round == 1 ? "forward_correction" : "forward_correction, round \(round)", loss: "forward_correction",
      isTrusted: true, parts: [16, 8, 4, 2], transition: transition)
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
