import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let margins = [hinge, ldr, partialSoftmax, forwardForward]

  /// softplus(theta - g_y) + mean_{c != y} softplus(g_c - theta), g the goodness of each label: the mean over the wrong
  /// label that the paper draws. 2 ln 2 where all are theta. With probabilities its mean over y.
  static let forwardForward = Method(
    "forward_forward_loss", kind: .loss, area: "optim",
    summary: "A goodness above a threshold for the true label and below it for the others.",
    reference: Reference(
      "Hinton", 2022, "The Forward-Forward Algorithm: Some Preliminary Investigations", arXiv: "2212.13345"),
    parameters: [.real("theta", 2, "The threshold.").named(also: "ff_theta")],
    inputs: [.logits, .targets], properties: ["nonnegative"],
    implementation: .loss { x in
      guard x.classes > 1 else {
        return .invalid(.invalidShape, "A goodness is compared with that of other classes: pass two or more.")
      }
      let (g, theta) = (x.logits, x.real("theta"))
      if x.targets.kind == .real {
        return x.ifTarget(softplus(theta - g), otherwise: softplus(g - theta) / Double(x.classes - 1)).sum()
      }
      let others = softplus((g - theta).without(x.targets)).sum() / Double(x.classes - 1)
      return softplus(theta - g.pick(x.targets)) + others
    })

  /// crammer_singer: max(0, margin + max_{j != y} z_j - z_y). weston_watkins: the sum over j != y instead of the max.
  static let hinge = Method(
    "hinge", aliases: ["multi_class_hinge"], kind: .loss, area: "loss",
    summary: "Zero once the target's score leads by the margin.",
    reference: Reference(
      "Crammer and Singer", 2001, "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines"),
    parameters: [
      .real("margin", 1, in: .nonNegative, "The lead that is asked for."),
      .choice("form", ["crammer_singer", "weston_watkins"], "Against the best other class, or against each."),
    ],
    inputs: [.logits, .targets], properties: ["shift_invariant", "nonnegative"],
    implementation: .loss { x in x.hinge(squared: false) })

  /// lambda log((1 / K) sum_k exp((f_k - f_y + c [k != y]) / lambda)). lambda -> 0 is the hinge loss, infinity the mean.
  /// Adaptive: each sample has its lambda, lambda0 (1 - KL(p || 1 / K) / (alpha log K)), p = softmax(f / old lambda), and
  /// the value is less (alpha log K / (2 lambda0)) (lambda - lambda0)^2. With probabilities t the gaps are
  /// f_k - t.f + c (1 - t_k).
  static let ldr = Method(
    "ldr_kl_loss", aliases: ["ldr_kl"], kind: .loss, area: "loss",
    summary: "The worst case over label distributions near the uniform one.",
    reference: Reference(
      "Zhu, Ying and Yang", 2023,
      "Label Distributionally Robust Losses for Multi-class Classification: Consistency, Robustness and Adaptivity",
      arXiv: "2112.14869"),
    parameters: [
      .real("lambda0", 10, in: .positive, "The temperature, or where each sample's begins."),
      .real("alpha", 2, in: Interval(1, .infinity, includesLower: false), "How far a sample's temperature may fall."),
      .real("margin", 0.1, in: .nonNegative, "The margin c."),
      .boolean("adaptive", false, "Each sample has its temperature; logits are normalised."),
      .boolean("normalize", false, "Logits are divided by their mean absolute value."),
    ],
    inputs: [.logits, .targets],
    state: [SampleState("lambdas", [], initial: 10, initialParameter: "lambda0", "The temperature of a sample.")],
    properties: ["holds_constants"],
    implementation: .loss { x in
      let (lambda0, alpha, isAdaptive) = (x.real("lambda0"), x.real("alpha"), x.boolean("adaptive"))
      var f = x.logits
      if isAdaptive || x.boolean("normalize") {
        // Masked classes (logits of -inf) are not there.
        let isOut = f .== -.infinity
        let near = Expression.select(isOut, .constant(0), f)
        let size = abs(near).sum() / maximum(Double(x.classes) - isOut.sum(), 1)
        f = .select(isOut, f, near / .select(size .== 0, .constant(1), size))
      }
      var lambda = Expression.constant(lambda0, [f.shape[0], 1])
      var penalty = Expression.constant(0)
      let logK = log(Expression.constant(Double(max(x.classes, 2))))
      if isAdaptive {
        let scaled = f / x.state("lambdas")
        let p = scaled.softmax()
        let divergence = (p * .select(p .== 0, .constant(0), scaled.logSoftmax())).sum() + logK
        lambda = (lambda0 * (1 - divergence / (alpha * logK))).stopGradient
        penalty = alpha / (2 * lambda0) * logK * square(lambda - lambda0)
      }
      x.update("lambdas", to: lambda)
      let (margin, inverse) = (x.real("margin"), reciprocal(lambda))
      let spared =
        x.targets.kind == .real
        ? x.targets * (-margin * inverse) : .place(-margin * inverse, at: x.targets, columns: x.classes)
      let scores = (f + margin) * inverse + spared
      let worst = lambda * (scores.logSumExp() - log(Expression.constant(Double(x.classes))))
      // Where a share of the target is masked, the other classes keep their slopes.
      let wanted = x.targets.kind == .real ? x.expectation(f.bounded) : x.expectation(f).bounded
      return worst - wanted - penalty
    })

  /// Softmax cross-entropy of scale * cos over the classes sampled and those of the batch, with a margin at the
  /// target: cosface cos - m, arcface cos(theta + m), beyond theta + m = pi cos - m sin m.
  static let partialSoftmax = Method(
    "partial_fc", kind: .loss, area: "softmax",
    summary: "Cross-entropy with an angular margin over a sample of very many classes.",
    reference: Reference(
      "An et al.", 2021, "Partial FC: Training 10 Million Identities on a Single Machine", arXiv: "2010.05222"),
    parameters: [
      .real("scale", 64, in: .positive, "The factor of the cosines."),
      .real("margin", 0.4, in: .nonNegative, "How far the target must lead."),
      .choice("margin_type", ["cosface", "arcface"], "A margin on the cosine, or on the angle."),
    ],
    inputs: [
      Input("features", [.init(["N", "D"])], "Embeddings."),
      Input("weights", [.init(["C", "D"])], "A row for each class."),
      .classIds(alone: "most classes are not computed"),
      Input(
        "sampled_classes", [.init(["S"], .index(below: "C"))], isOptional: true,
        "Different classes to compare with, besides those of the batch; without it all."),
    ],
    implementation: .loss { x in
      guard x.has("sampled_classes") else { return x.angularLoss(x.angularMargin(x.text("margin_type"))) }
      let (features, table, y) = (x["features"].normalizedRows(), x["weights"], x.targets)
      let (n, d) = (features.shape[0], features.shape[1])
      let own = table.gatherRows(y).reshaped([n, d]).normalizedRows()
      let cosine = (features * own).sum()
      let target = x.real("scale") * x.angularMargin(x.text("margin_type"))(cosine, .constant(x.real("margin")))
      // Columns: the sampled classes, then each class of the batch once if it was not sampled.
      let (sampled, scale) = (x["sampled_classes"].reshaped([1, x["sampled_classes"].shape[0]]), x.real("scale"))
      let (batch, width) = (y.reshaped([1, n]), sampled.shape.last + n)
      let isKnown = Expression.byRowBlocks(
        rows: [y, .iota([n, 1], axis: 0)], shared: [sampled, batch], width: width
      ) { row, all in
        (row[0] .== all[0]).maximum() .| ((row[0] .== all[1]) .& (.iota([1, n]) .< row[1])).maximum()
      }
      let isNew = not(isKnown.stopGradient).reshaped([1, n])
      let drawn = table.gatherRows(x["sampled_classes"]).reshaped([sampled.shape.last, d]).normalizedRows()
      let others = Expression.byRowBlocks(
        rows: [features, y], shared: [drawn, own, sampled, batch, isNew], width: width
      ) { row, all in
        let scores = (0..<2).map { scale * Expression.matmul(row[0], all[$0], transposeB: true) }
        let counts = [row[1] .!= all[2], (row[1] .!= all[3]) .& all[4]]
        return Expression.concatenate(scores, axis: 1).logSumExp(where: .concatenate(counts, axis: 1))
      }
      return softplus(others - target)
    })
}
