import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let semiSupervised = [shrinkMatch, robustSelfSupervised, robustLogistic]

  /// p = softmax(weak), constant. max p >= tau: -sum p log softmax(strong). Else the classes of rank 1 to c - 1 are dropped, with
  /// the least c >= 2 for which p_(0) / (p_(0) + sum_{r >= c} p_(r)) >= tau, at most C - 1: rho p_(0) times the
  /// cross-entropy of the auxiliary logits that are kept, 0 if even that is not sure enough.
  static let shrinkMatch = Method(
    "shrinkmatch_loss", aliases: ["shrinkmatch"], kind: .loss, area: "semi",
    summary: "Learns from unsure pseudo-labels by dropping the classes that confuse them.",
    reference: Reference(
      "Yang et al.", 2023, "Shrinking Class Space for Enhanced Certainty in Semi-Supervised Learning",
      arXiv: "2308.06777"),
    parameters: [
      .real("tau", 0.95, in: .unit, "How sure a pseudo-label must be."),
      .real("rho", 1, in: .nonNegative, "The factor of the shrunk part."),
    ],
    inputs: [
      Input("weak_logits", [.init(["N", "C"])], isDifferentiable: false, "Scores of the weakly changed view."),
      Input("strong_logits", [.init(["N", "C"])], "Scores of the strongly changed view."),
      Input("auxiliary_logits", [.init(["N", "C"])], "The same from the auxiliary head."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      let (tau, p) = (x.real("tau"), x["weak_logits"].softmax().stopGradient)
      let classes = p.shape.last
      let order = p.sortOrder(descending: true)
      let sorted = p.takeAlong(order)
      let top = sorted.slice(0..<1, axis: 1)
      let isSure = top .>= tau
      let sure = -(p * x["strong_logits"].logSoftmax()).sum()
      guard classes > 2 else { return .select(isSure, sure, .constant(0)) }
      let rank = Expression.iota([classes])
      let certainty = top / (top + sorted.cumulativeSum(reverse: true))
      let isShort = (rank .>= 2) .& (rank .<= Double(classes - 2)) .& (certainty .< tau)
      let first = 2 + isShort.sum()
      let isEnough = certainty.pick(first) .>= tau
      let isKept = (rank .== 0) .| (rank .>= first)
      let scores = x["auxiliary_logits"].takeAlong(order)
      let shrunk = top * (scores.logSumExp(where: isKept) - scores.slice(0..<1, axis: 1))
      return .select(isSure, sure, .select(isEnough, x.real("rho") * shrunk, .constant(0)))
    })

  /// Labelled: 1 if y w.x <= 0, else max(0, 1 - gamma d); unlabelled: max(0, 1 - gamma' d), d = |w.x| / |w|: the 0-1 loss
  /// under moves that cost gamma times their length. The mean of the first plus lam times that of the second.
  static let robustSelfSupervised = Method(
    "robust_self_supervised_loss", kind: .loss, area: "semi",
    summary: "A worst-case loss of a linear rule, with a self-labelled part for data from elsewhere.",
    reference: Reference(
      "Saberi et al.", 2024, "Out-Of-Domain Unlabeled Data Improves Generalization", arXiv: "2310.00027"),
    parameters: [
      .real("gamma", 1, in: .nonNegative, "The price of moving labelled samples."),
      .real("gamma_prime", 1, in: .nonNegative, "The price of moving unlabelled samples."),
      .real("lam", 1, in: .nonNegative, "The factor of the unlabelled part."),
    ],
    inputs: [
      .rows, .signs, Input("unlabeled_features", [.init(["M", "D"])], "Unlabelled samples."), .direction,
    ],
    properties: ["batch", "nonnegative"],
    implementation: .loss { x in
      let w = x["weights"]
      let unit = w.normalizedRows().reshaped([w.shape[0], 1])
      let margin = x.sign * Expression.matmul(x["features"], unit)
      let labelled = Expression.select(margin .<= 0, .constant(1), relu(1 - x.real("gamma") * margin))
      let free = abs(Expression.matmul(x["unlabeled_features"], unit))
      let total = labelled.meanAll() + x.real("lam") * relu(1 - x.real("gamma_prime") * free).meanAll()
      return total.reshaped([1, 1])
    })

  /// max over z of log(1 + exp(-y w.z)) - gamma |z - x|^2: z moves by d along -y w / |w|, where
  /// 2 gamma d = |w| sigmoid(|w| d - m), m = y w.x. For gamma > |w|^2 / 8 there is one such d.
  static let robustLogistic = Method(
    "robust_self_supervised_loss_logistic", aliases: ["robust_self_supervised_loss/logistic"], kind: .loss,
    area: "semi",
    summary: "The logistic loss at the worst place near a sample.", reference: robustSelfSupervised.reference,
    parameters: [.real("gamma", 3, in: .positive, "The price of the squared distance.")],
    inputs: [.rows, .signs, .direction], properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let (w, gamma) = (x["weights"], x.real("gamma"))
      // At 0 the length has no slope, and none is needed: d is 0 there.
      let squares = square(w).sumAll()
      let isZero = squares .== 0
      let size = Expression.select(isZero, .constant(0), sqrt(.select(isZero, .constant(1), squares)))
      let margin = x.sign * Expression.matmul(x["features"], w.reshaped([w.shape[0], 1]))
      var (low, high) = (Expression.zeros(margin.shape), (size / (2 * gamma)).broadcast(to: margin.shape))
      for _ in 0..<60 {
        let middle = 0.5 * (low + high)
        let isLow = size * sigmoid(size * middle - margin) .> 2 * gamma * middle
        (low, high) = (.select(isLow, middle, low), .select(isLow, high, middle))
      }
      // Newton's steps from the root carry its derivatives.
      var d = (0.5 * (low + high)).stopGradient
      for _ in 0..<2 {
        let s = sigmoid(size * d - margin)
        d = d - (size * s - 2 * gamma * d) / (square(size) * s * (1 - s) - 2 * gamma)
      }
      return softplus(size * d - margin) - gamma * square(d)
    })
}

extension Input {
  fileprivate static let rows = Input("features", [.init(["N", "D"])], "Samples.")
  fileprivate static let signs = Input(
    "targets", [.init(["N"])], isDifferentiable: false, "1 for one class, -1 or 0 for the other.")
  fileprivate static let direction = Input("weights", [.init(["D"])], "The linear rule.")
}

extension Formula {
  fileprivate var sign: Expression { .select(self["targets"] .> 0, .constant(1), .constant(-1)) }
}
