import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let divergences = [kullbackLeibler, distillation, biTempered, squaredErrorLogit]

  /// forward: sum_c t_c (log t_c - log p_c); reverse: sum_c p_c (log p_c - log t_c).
  static let kullbackLeibler = Method(
    "kl_divergence", aliases: ["kl"], kind: .loss, area: "loss",
    summary: "The divergence between target probabilities and softmax(logits).",
    reference: Reference("Kullback and Leibler", 1951, "On Information and Sufficiency"),
    parameters: [.choice("direction", ["forward", "reverse"], "KL(targets || p), or KL(p || targets).")],
    inputs: [
      .logits,
      Input(
        "targets", [.init(["N", "C"])], isDifferentiable: false, in: .nonNegative,
        "A probability for each class, 0 or more."),
    ],
    properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let t = x.targets
      if x.text("direction") == "forward" {
        let (shifted, logSum) = x.logits.shiftedWithLogSum()
        return (t * log(maximum(t, 1e-37))).sum() - x.expectation(shifted) + t.sum() * logSum
      }
      return x.logits.divergence(from: log(t))
    })

  /// (1 - alpha) CE + alpha T^2 KL(softmax(teacher / T) || softmax(z / T)). Hinton, Vinyals and Dean, 2015.
  static let distillation = Method(
    "distillation", aliases: ["knowledge_distillation"], kind: .loss, area: "distill",
    summary: "Cross-entropy and the divergence from a teacher's softened predictions.",
    reference: Reference(
      "Hinton, Vinyals and Dean", 2015, "Distilling the Knowledge in a Neural Network", arXiv: "1503.02531"),
    parameters: [
      .real("temperature", 4, in: .positive, "Both predictions are softened by this."),
      .real("alpha", 0.5, in: .unit, "The weight of the teacher; the rest is the targets'."),
    ],
    inputs: [.logits, .targets, .teacherLogits], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let (t, alpha) = (x.real("temperature"), x.real("alpha"))
      let divergence = (x["teacher_logits"] / t).divergence(fromSoftmaxOf: x.logits / t)
      return (1 - alpha) * x.crossEntropy + alpha * t * t * divergence
    })

  /// sum_c t_c (log_t1 t_c - log_t1 p_c) - (t_c^(2 - t1) - p_c^(2 - t1)) / (2 - t1), p_c = exp_t2(z_c - normaliser),
  /// log_t(x) = (x^(1 - t) - 1) / (1 - t), exp_t(x) = max(0, 1 + (1 - t) x)^(1 / (1 - t)). Amid et al., 2019.
  static let biTempered = Method(
    "bi_tempered_logistic", aliases: ["bi_tempered"], kind: .loss, area: "noisy-labels",
    summary: "A bounded loss (t1 < 1) of heavy-tailed probabilities (t2 > 1).",
    reference: Reference(
      "Amid, Warmuth, Anil and Koren", 2019, "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences",
      arXiv: "1906.03361"),
    parameters: [
      .real("t1", 0.8, in: Interval(0, 1), "Below 1 the loss is bounded."),
      .real("t2", 1.2, in: Interval(1, .infinity, includesUpper: false), "Above 1 the tails are heavy."),
      .real("label_smoothing", 0, in: .belowOne, "The share of the target that goes to the other classes."),
    ],
    inputs: [.logits, .shareTargets], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let (t1, t2, smoothing) = (x.real("t1"), x.real("t2"), x.real("label_smoothing"))
      let (logp, power) = x.logits.logTemperedSoftmax(t2)
      // log_t1 p = expm1((1 - t1) log p) / (1 - t1): also right at t1 = 1 and for p near 0.
      func temperedLog(_ logarithm: Expression) -> Expression {
        t1 == 1 ? logarithm : expm1((1 - t1) * logarithm) / (1 - t1)
      }
      let powers = power(2 - t1)
      let rest = powers.sum() / (2 - t1)
      if x.targets.kind == .index && smoothing == 0 {
        let value = rest - 1 / (2 - t1) - temperedLog(logp.pick(x.targets))
        if t2 == 1 { return value }
        // dp = p^t2 (dz - mean of dz weighted with p^t2), and the slope by p is p^(1 - t1), less p^-t1 for the target.
        let (weights, own) = (power(t2), power(t2 - t1).pick(x.targets))
        let mean = ((weights * power(1 - t1)).sum() - own) / weights.sum()
        let slope = weights * (power(1 - t1) - mean) + .place(-own, at: x.targets, columns: x.classes)
        return value.withSlopes([(by: x.logits, slope: slope)])
      }
      let others = Double(max(x.classes - 1, 1))
      let t = (1 - smoothing * (1 + 1 / others)) * x.targetProbabilities + smoothing / others
      let isZero = t .== 0
      let logt = log(.select(isZero, .constant(1), t))
      let terms = t * (temperedLog(logt) - temperedLog(logp)) - exp((2 - t1) * logt) / (2 - t1)
      return Expression.select(isZero, .constant(0), terms).sum() + rest
    })

  /// (log p_k - log q_k)^2 / 2 over the entries that the teacher revealed. Values are scaled so that their mean is the
  /// mean over all revealed entries of the batch.
  static let squaredErrorLogit = Method(
    "squared_error_logit_loss", kind: .loss, area: "distill",
    summary: "Squared distance between a student's log-probabilities and the teacher's where they are known.",
    reference: Reference(
      "Zhao and Zhu", 2023, "Towards the Fundamental Limits of Knowledge Transfer over Finite Domains",
      arXiv: "2310.07838"),
    inputs: [
      .logits,
      Input("teacher_log_probs", [.init(["N", "C"])], isDifferentiable: false, "The teacher's log-probabilities."),
      Input("mask", [.init(["N", "C"], .mask)], isOptional: true, "1 for the entries that are revealed."),
    ],
    properties: ["smooth", "nonnegative", "shift_invariant"],
    implementation: .loss { x in
      let halves = 0.5 * square(x.logits.bounded.logSoftmax() - x["teacher_log_probs"])
      guard x.has("mask") else { return halves.mean() }
      let share = Double(x.logits.shape[0]) / maximum(x["mask"].sumAll(), 1)
      return share * Expression.select(x["mask"], halves, .constant(0)).sum()
    })
}

extension Input {
  static let teacherLogits = Input(
    "teacher_logits", [.init(["N", "C"])], isDifferentiable: false, "The teacher's scores before the softmax.")
}

extension Expression {
  /// The logarithm of p = exp_t(z - n) with n such that the row sums to 1, and the powers of p.
  func logTemperedSoftmax(_ t: Double) -> (logarithm: Expression, power: (Double) -> Expression) {
    if t == 1 {
      let logp = logSoftmax()
      return (logp, { TemperGraph.exp($0 * logp) })
    }
    // p = u^(-1 / (t - 1)), u = 1 + (t - 1) (n - z).
    let s = 1 - t
    let (z, threshold, _) = powerThreshold(.constant(s))
    let u = s * (z - threshold)
    return (TemperGraph.log(u) / s, { u.power($0 / s) })
  }
}

extension Input {
  /// Targets of losses that take logarithms or powers of them.
  static let shareTargets = Input(
    "targets", targets.forms, isDifferentiable: false, in: .nonNegative,
    "Class ids, or a probability for each class, 0 or more.")
}
