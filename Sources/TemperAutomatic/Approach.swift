import TemperCatalogue

/// One way to train that the automatic mode tries.
struct Approach: Sendable {
  let name: String
  let loss: String
  var parameters: [(name: String, value: Value)] = []
  var weightDecay = 0.0
  /// Whether samples that the best approach before it does not believe are left out.
  var leavesOut = false

  /// The first is plain training: it stays the choice unless another is clearly better.
  static let classification = [
    Approach(name: "cross_entropy", loss: "cross_entropy"),
    Approach(name: "cross_entropy with weight decay", loss: "cross_entropy", weightDecay: 0.1),
    Approach(name: "generalized_cross_entropy", loss: "generalized_cross_entropy"),
    Approach(name: "active_passive_loss", loss: "active_passive_loss"),
    Approach(name: "early_learning_regularization", loss: "early_learning_regularization"),
    Approach(name: "cross_entropy on believed labels", loss: "cross_entropy", leavesOut: true),
  ]
  /// Tried too where classes are of different sizes.
  static let imbalanced = [Approach(name: "logit_adjusted", loss: "logit_adjusted")]
  static let regression = [
    Approach(name: "mse", loss: "mse"),
    Approach(name: "mse with weight decay", loss: "mse", weightDecay: 1),
    Approach(name: "huber", loss: "huber"),
    Approach(name: "mae", loss: "mae"),
    Approach(name: "tukey_biweight", loss: "tukey_biweight"),
  ]
}
