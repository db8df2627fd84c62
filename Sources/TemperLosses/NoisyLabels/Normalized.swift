import TemperCatalogue
import TemperGraph

// The parts of active_passive_loss by themselves. A weighted sum of losses combines them with any other.

extension Losses {
  static let normalizedLosses = [normalizedCrossEntropy, normalizedFocal, reverseCrossEntropy]

  /// log p_y / sum_k log p_k.
  static let normalizedCrossEntropy = part(
    "normalized_cross_entropy", aliases: ["nce"], "Cross-entropy over its sum for all classes as target: bounded.", []
  ) { x in x.normalized(total: -x.sumOfLogProbabilities) { -$0 } }

  /// l_y / sum_k l_k, l_k = -(1 - p_k)^gamma log p_k.
  static let normalizedFocal = part(
    "normalized_focal", aliases: ["nfl"], "The focal loss over its sum for all classes as target: bounded.",
    [.real("gamma", 0.5, in: .nonNegative, "The exponent of the focal form.")]
  ) { x in
    let gamma = x.real("gamma")
    return x.normalized { focalTerm($0, gamma) }
  }

  /// -sum_c p_c log t_c with log 0 = A: -A (1 - p_y) for class ids.
  static let reverseCrossEntropy = part(
    "reverse_cross_entropy", aliases: ["rce"], "Cross-entropy with the roles of targets and predictions exchanged.",
    [
      .real(
        "A", -4, in: Interval(-.infinity, 0, includesLower: false, includesUpper: false), "What log 0 is taken to be.")
    ]
  ) { x in x.reverseCrossEntropy }

  private static func part(
    _ name: String, aliases: [String], _ summary: String, _ parameters: [Parameter],
    _ value: @escaping @Sendable (Formula) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .loss, area: "noisy-labels", summary: summary, reference: activePassive.reference,
      parameters: parameters, inputs: [.logits, .shareTargets],
      properties: ["smooth", "shift_invariant", "nonnegative"],
      implementation: .loss { x in value(x) })
  }
}

extension Formula {
  /// log p, with 0 for masked classes (logits of -inf): they add nothing to a sum of losses.
  private var presentLogProbabilities: Expression { .select(isMasked, .constant(0), logProbabilities) }

  private var isMasked: Expression { logits .== -.infinity }

  /// The sum of `presentLogProbabilities`.
  var sumOfLogProbabilities: Expression {
    let (top, logSum) = (logits.maximum().stopGradient, logits.shiftedWithLogSum().logSum)
    let isMasked = isMasked
    // Chosen before the maximum is taken off: in one sweep without a store.
    let shifted = Expression.select(isMasked, top, logits) - top
    return shifted.sum() - (Double(classes) - isMasked.sum()) * logSum
  }

  /// A loss over its sum for all classes as target, which may be given.
  func normalized(total: Expression? = nil, _ loss: (Expression) -> Expression) -> Expression {
    guard classes > 1 else {
      return .invalid(.invalidShape, "Normalised losses compare classes: pass logits of two classes or more.")
    }
    let losses = loss(presentLogProbabilities)
    let total = total ?? losses.sum()
    // The losses of masked targets outgrow all others, one as fast as the other.
    guard targets.kind == .index else {
      let isOutgrowing = isMasked .& (targets .!= 0)
      let count = isOutgrowing.sum()
      let share = (isOutgrowing * targets).sum() / maximum(count, 1)
      return .select(count .> 0, share, expectation(losses) / total)
    }
    let isMasked = logits.pick(targets) .== -.infinity
    let own = loss(.select(isMasked, .constant(0), logProbability))
    return .select(isMasked, .constant(1), own / total)
  }
}
