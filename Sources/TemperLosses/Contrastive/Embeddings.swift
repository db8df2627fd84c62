import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let embeddings = [imbalancedRegression, individualTemperatures, commonAndSalient, softMatch]

  /// Cosines over T. Positives |y_i - y_j| <= w, negatives the others with |predictions' difference| <= w, weighted by
  /// S = eta_i exp(e |y_i - y_j|): -eta_i mean_{p in K+} log(e^s_p / (sum_{K+} e^s + sum_{K-} S e^s)); 0 without
  /// positives or negatives.
  static let imbalancedRegression = Method(
    "conr_loss", aliases: ["conr"], kind: .loss, area: "imbalance",
    summary: "Keeps the features of samples apart that are predicted alike but labelled differently.",
    reference: Reference(
      "Keramati, Meng and Evans", 2024, "ConR: Contrastive Regularizer for Deep Imbalanced Regression",
      arXiv: "2309.06651"),
    parameters: [
      .real("w", 1, in: .nonNegative, "Labels this near are the same."),
      .real("T", 0.2, in: .positive, "The temperature of the similarities.").named(also: "temperature"),
      .real("e", 0.01, "How much more far labels are pushed."),
    ],
    inputs: [
      Input("features", [.init(["N", "D"])], "Features, normalised inside."),
      Input("targets", [.init(["N"])], isDifferentiable: false, "Labels."),
      Input("predictions", [.init(["N"])], isDifferentiable: false, "Predictions."),
      Input(
        "density_weights", [.init(["N"])], isOptional: true, isDifferentiable: false, in: .nonNegative,
        "Inverse label density, 0 or more."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      let q = x["features"].normalizedRows()
      let n = q.shape[0]
      let (temperature, w, e) = (x.real("T"), x.real("w"), x.real("e"))
      let eta = x.has("density_weights") ? x["density_weights"] : .constant(1, [n, 1])
      let own = [x["targets"], x["predictions"]]
      return .byRowBlocks(
        rows: [q, .iota([n, 1], axis: 0), eta] + own, shared: [q] + own.map { $0.reshaped([1, n]) }, width: n
      ) { row, all in
        let (s, eta) = (Expression.matmul(row[0], all[0], transposeB: true) / temperature, row[2])
        let labels = abs(row[3] - all[1])
        let isNear = (labels .<= w) .& (row[1] .!= .iota([1, n]))
        let isConfused = (labels .> w) .& (abs(row[4] - all[2]) .<= w)
        let pushed = Expression.select(isConfused, s + log(eta) + e * labels, s)
        let count = isNear.sum()
        let mean = Expression.select(isNear, s, .constant(0)).sum() / maximum(count, 1)
        let isActive = (count .> 0) .& (isConfused.sum() .> 0)
        let every = Expression.select(isActive, pushed.logSumExp(where: isNear .| isConfused), .constant(0))
        return .select(isActive, eta * (every - mean), .constant(0))
      }
    })

  /// tau_i log u_i + tau_i rho for both anchors of a sample: u is a running mean of g_i = mean over the other samples' views
  /// of exp((a_i . z - a_i . b_i) / tau_i). The gradient is that of g_i / u_i with u held constant. Temperatures that do not
  /// come are learnt: v follows the slope G_i by tau_i as a running mean, tau_i <- clip(tau_i - eta v_i).
  static let individualTemperatures = Method(
    "isogclr_loss", aliases: ["isogclr"], kind: .loss, area: "semi",
    summary: "Contrast over the whole data set, with a temperature for each sample.",
    reference: Reference(
      "Qiu, Hu, Yuan, Zhou, Zhang and Yang", 2023,
      "Not All Semantics are Created Equal: Contrastive Self-supervised Learning with Automatic Temperature Individualization",
      arXiv: "2305.11965"),
    parameters: [
      .real("rho", 0.3, in: .nonNegative, "The radius around the uniform distribution of negatives."),
      .real("gamma", 0.9, in: .unit, "How much of the running mean a batch replaces."),
      .choice("views", ["mean", "sum"], "How the two anchors of a sample are put together."),
      .real("tau_init", 0.1, in: .positive, "Where temperatures that are learnt begin."),
      .real("eta", 0.01, in: .nonNegative, "The rate at which they are learnt."),
      .real("beta", 0.9, in: .unit, "How much of their mean slope a batch replaces."),
      .real("tau_min", 0.05, in: .positive, "The least of them."),
      .real("tau_max", 0.7, in: .positive, "The largest of them."),
    ],
    inputs: [
      Input("features_a", [.init(["N", "D"])], "Features of the first view, normalised inside."),
      Input("features_b", [.init(["N", "D"])], "Features of the second view."),
      Input(
        "temperatures", [.init(["N"])], isOptional: true, in: .positive,
        "The temperature of each sample, above 0; without them they are learnt, while a trainer trains."),
    ],
    state: [
      SampleState("u", [], "The running mean of g; 0 at the first visit, which takes g itself."),
      SampleState("tau", [], initial: 0.1, initialParameter: "tau_init", "The learnt temperature."),
      SampleState("slope", [], "The running mean of the slope by the learnt temperature."),
    ],
    properties: ["holds_constants"],
    implementation: .loss { x in
      let (a, b) = (x["features_a"].normalizedRows(), x["features_b"].normalizedRows())
      let isLearning = !x.has("temperatures")
      let tau = isLearning ? x.state("tau") : x["temperatures"]
      let n = a.shape[0]
      guard n > 1 else { return .invalid(.invalidShape, "Contrast needs at least two samples.") }
      let (old, gamma) = (x.state("u"), x.real("gamma"))
      let positive = (a * b).sum()
      func anchor(_ own: Expression, _ other: Expression) -> (value: Expression, u: Expression, slope: Expression) {
        // The mean over the other samples' views of a function of the gap h over tau.
        func mean(_ value: @escaping @Sendable (Expression) -> Expression) -> Expression {
          Expression.byRowBlocks(
            rows: [own, .iota([n, 1], axis: 0), positive, tau], shared: [own, other], width: 2 * n
          ) { row, all in
            let gaps = all.map { (Expression.matmul(row[0], $0, transposeB: true) - row[2]) / row[3] }
            // Its own view has no part, also where its exponential is infinite.
            let isOther = row[1] .!= .iota([1, n])
            let sums = gaps.map { gap in
              Expression.select(isOther, value(.select(isOther, gap, .constant(0))), .constant(0)).sum()
            }
            return (sums[0] + sums[1]) / Double(2 * (n - 1))
          }
        }
        let g = mean { exp($0) }
        let u = Expression.select(old .> 0, (1 - gamma) * old + gamma * g, g).stopGradient
        let slope = isLearning ? log(u) + x.real("rho") - mean { exp($0) * $0 } / u : .constant(0)
        return (tau * (log(u) + (g - g.stopGradient) / u + x.real("rho")), u, slope)
      }
      let (first, second) = (anchor(a, b), anchor(b, a))
      x.update("u", to: 0.5 * (first.u + second.u))
      let (beta, before) = (x.real("beta"), x.state("slope"))
      let slope = isLearning ? (1 - beta) * before + beta * 0.5 * (first.slope + second.slope) : before
      x.update("slope", to: slope)
      let moved = clamp(tau - x.real("eta") * slope, x.real("tau_min"), x.real("tau_max"))
      x.update("tau", to: isLearning ? moved : x.state("tau"))
      return (x.text("views") == "mean" ? 0.5 : 1) * (first.value + second.value)
    })

  /// Common features: align + uniform of both views. Salient ones: align of the targets' views, uniform with the
  /// background's at 0 (times b1); the background's pulled to 0 (b2). lam J, J = mean_i log mean_j of the joint kernel.
  static let commonAndSalient = Method(
    "sepclr_loss", aliases: ["sepclr"], kind: .loss, area: "semi",
    summary: "Separates what two groups share from what only one of them has.",
    reference: Reference(
      "Louiset, Duchesnay, Grigis and Gori", 2024,
      "Separating common from salient patterns with Contrastive Representation Learning", arXiv: "2402.11928"),
    parameters: [
      .real("tau", 0.5, in: .positive, "The width of the kernels."),
      .real("b1", 1000, in: .nonNegative, "The factor of the salient part."),
      .real("b2", 1000, in: .nonNegative, "The factor of the background's salient features."),
      .real("lam", 10, in: .nonNegative, "The factor of the joint entropy."),
    ],
    inputs: [
      Input("common_1", [.init(["N", "D"])], "Common features of the first view, normalised inside."),
      Input("common_2", [.init(["N", "D"])], "Common features of the second view."),
      Input("salient_1", [.init(["N", "E"])], "Salient features of the first view."),
      Input("salient_2", [.init(["N", "E"])], "Salient features of the second view."),
      Input(
        "targets", [.init(["N"], .mask)], isDifferentiable: false,
        "0 is background, 1 has the pattern, no probabilities: they are two sets of samples."),
    ],
    properties: ["holds_constants", "batch", "smooth"],
    implementation: .loss { x in
      let (c1, c2) = (x["common_1"].normalizedRows(), x["common_2"].normalizedRows())
      let (s1, s2, isTarget) = (x["salient_1"], x["salient_2"], x["targets"])
      let (n, width) = (c1.shape[0], 2 * x.real("tau"))
      guard n > 1 else { return .invalid(.invalidShape, "Uniformity needs at least two samples.") }
      // By sample, over the others: the log-sums of both kernels, and over all that of their product.
      func logSums(_ c: Expression, _ t: Expression) -> [Expression] {
        let sums = Expression.byRowBlocks(
          rows: [c, t, .iota([n, 1], axis: 0)], shared: [c, t], width: n * max(c.shape[1], t.shape[1])
        ) { row, all in
          let kernels = (0..<2).map { -Expression.squaredDistances(row[$0], all[$0]) / width }
          let isOther = row[2] .!= .iota([1, n])
          return .concatenate(
            kernels.map { $0.logSumExp(where: isOther) } + [(kernels[0] + kernels[1]).logSumExp()], axis: 1)
        }
        return (0..<3).map { sums.slice($0..<($0 + 1), axis: 1) }
      }
      func uniform(_ logSum: Expression) -> Expression {
        // Pairs i < j are half of those off the diagonal.
        logSum.reshaped([1, n]).logSumExp().reshaped([]) - log(Expression.constant(Double(n * (n - 1))))
      }
      func mean(_ values: Expression, _ mask: Expression) -> Expression {
        (mask * values).sumAll() / maximum(mask.sumAll(), 1)
      }
      func align(_ u: Expression, _ v: Expression) -> Expression { square(u - v).sum() / width }
      let (t1, t2) = (isTarget * s1, isTarget * s2)
      let (first, second) = (logSums(c1, t1), logSums(c2, t2))
      let common = align(c1, c2).meanAll() + uniform(first[0]) + uniform(second[0])
      let salient = mean(align(s1, s2), isTarget) + uniform(first[1]) + uniform(second[1])
      let background = 1 - isTarget
      let zero = 0.5 * (mean(square(s1).sum() / width, background) + mean(square(s2).sum() / width, background))
      let leakage = 0.5 * (first[2] + second[2]).meanAll() - log(Expression.constant(Double(n)))
      let total = common + x.real("b1") * salient + x.real("b2") * zero + x.real("lam") * leakage
      return total.reshaped([1, 1])
    })

  /// P = softmax(r / T), Q = softmax(s / T): (KL(P || Q) + KL(Q || P)) / 2, one of them, or Jensen and Shannon's.
  static let softMatch = Method(
    "soft_match_distribution_loss", aliases: ["soft_match"], kind: .loss, area: "semi",
    summary: "Scores should be distributed as a judge's scores are.",
    reference: Reference(
      "Gu et al.", 2025, "UniME-V2: MLLM-as-a-Judge for Universal Multimodal Embedding Learning", arXiv: "2510.13515"),
    parameters: [
      .real("T", 0.02, in: .positive, "The temperature of both.").named(also: "temperature"),
      .choice("mode", ["symmetric", "kl", "reverse", "js"], "Which divergence."),
    ],
    inputs: [
      Input("scores", [.init(["N", "L"])], "The model's scores of the candidates."),
      Input("target_scores", [.init(["N", "L"])], isDifferentiable: false, "The judge's scores."),
    ],
    properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let logp = (x["target_scores"].bounded / x.real("T")).logSoftmax()
      let logq = (x["scores"].bounded / x.real("T")).logSoftmax()
      let (p, q) = (exp(logp), exp(logq))
      switch x.text("mode") {
      case "kl": return (p * (logp - logq)).sum()
      case "reverse": return (q * (logq - logp)).sum()
      case "js":
        let logm = logAdd([logp, logq]) + log(Expression.constant(0.5))
        return 0.5 * (p * (logp - logm) + q * (logq - logm)).sum()
      default: return 0.5 * ((p - q) * (logp - logq)).sum()
      }
    })
}
