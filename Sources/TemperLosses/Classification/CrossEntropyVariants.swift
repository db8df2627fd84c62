import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  /// CE + epsilon (1 - p_y). Leng et al., 2022.
  static let poly1 = Method(
    "poly1", aliases: ["poly_loss"], kind: .loss, area: "loss",
    summary: "Cross-entropy with the first coefficient of its expansion in 1 - p_y changed.",
    reference: Reference(
      "Leng, Tan, Liu, Cubuk, Shi, Cheng and Anguelov", 2022,
      "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions", arXiv: "2204.12511"),
    parameters: [.real("epsilon", 1, "What is added to the first coefficient.")],
    inputs: [.logits, .targets], properties: ["smooth", "shift_invariant"],
    implementation: .loss { x in
      if x.targets.kind == .index {
        return -x.logProbability - x.real("epsilon") * expm1(x.logProbability)
      }
      let logp = x.logProbabilities
      return x.expectation(-logp - x.real("epsilon") * expm1(logp))
    })

  /// CE + alpha (max_k z_k - mean_k z_k): label smoothing whose penalty is on the top logit. The first of equal
  /// logits is the top one.
  static let maxSuppression = Method(
    "max_suppression", aliases: ["maxsup"], kind: .loss, area: "loss",
    summary: "Cross-entropy plus a penalty on the height of the largest logit.",
    reference: Reference(
      "Zhou et al.", 2025, "MaxSup: Overcoming Representation Collapse in Label Smoothing", arXiv: "2502.15798"),
    parameters: [
      .real("alpha", 0.1, in: .nonNegative, "The factor of the penalty.").named(also: "alpha_start")
    ],
    inputs: [.logits, .targets], properties: ["shift_invariant", "nonnegative"],
    implementation: .loss { x in
      x.crossEntropy + x.number("alpha") * (x.logits.maximum() - x.logits.mean())
    })

  /// log(1 + exp(a (b - z_c))) / a, z_c = (o_c - mean o) / std o. Constant rows count as z_c = 0. With two classes z_c
  /// is always +-1 and the gradient vanishes.
  static let zLoss = Method(
    "z_loss", kind: .loss, area: "loss", summary: "A loss that neither shifts nor scales of the scores change.",
    reference: Reference(
      "de Brebisson and Vincent", 2016,
      "The Z-loss: a shift and scale invariant classification loss belonging to the Spherical Family",
      arXiv: "1604.08859"),
    parameters: [
      .real("a", 1, in: .positive, "The sharpness of the bend."),
      .real("b", 0, "How many standard deviations above the mean the target should lie."),
    ],
    inputs: [.logits, .targets], properties: ["smooth", "shift_invariant", "scale_invariant", "nonnegative"],
    implementation: .loss { x in
      let (a, b) = (x.real("a"), x.real("b"))
      // Masked classes (logits of -inf) are not there.
      let isMasked = x.logits .== -.infinity
      let count = Double(x.classes) - isMasked.sum()
      let logits = Expression.select(isMasked, .constant(0), x.logits)
      let centred = Expression.select(isMasked, .constant(0), logits - logits.sum() / count)
      // Through the mean the variance does not change: the centred values sum to 0.
      let variance = (0.5 * square(centred).sum()).withSlopes([(by: x.logits, slope: centred)]) / (0.5 * count)
      let isConstant = variance .== 0
      let scores = Expression.select(
        isConstant, .constant(0), centred / sqrt(.select(isConstant, .constant(1), variance)))
      return x.expectation(softplus(a * (b - scores)) / a)
    })

  /// Cross-entropy of features classifier^T + bias, softly capped to t tanh(z / t) if wanted. Probabilities are as
  /// large as the logits; these are computed for some tokens at a time then, without the filter.
  static let cutCrossEntropy = Method(
    "cut_cross_entropy", aliases: ["linear_cross_entropy"], kind: .loss, area: "loss",
    summary: "A linear layer and its cross-entropy in one, whose logits are never stored as a whole.",
    reference: Reference(
      "Wijmans, Huval, Hertzberg, Koltun and Kraehenbuehl", 2025, "Cut Your Losses in Large-Vocabulary Language Models",
      arXiv: "2411.09009"),
    parameters: [
      .optionalReal("softcap", in: .positive, "Logits are bent to stay below this."),
      .integer("ignore_index", -100, "Tokens with this id give 0 and leave the mean's denominator."),
      .real(
        "filter_eps", 0, in: .nonNegative,
        "Blocks of the gradient in which no |p - [y]| reaches this are left out; 2^-12 suits bfloat16, 0 is exact."),
    ],
    inputs: [
      Input("features", [.init(["N", "D"])], "Features of the tokens."),
      Input("classifier", [.init(["C", "D"])], "A row of weights for each class."),
      .targets,
      Input("bias", [.init(["C"])], isOptional: true, "A bias for each class."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      if x.targets.kind == .real {
        let (cap, table) = (x.optionalReal("softcap"), [x["classifier"]] + (x.has("bias") ? [x["bias"]] : []))
        return .byRowBlocks(rows: [x["features"], x.targets], shared: table, width: table[0].shape[0]) { rows, all in
          let product = Expression.matmul(rows[0], all[0], transposeB: true)
          let z = all.count > 1 ? product + all[1] : product
          return (cap.map { $0 * tanh(z / $0) } ?? z).crossEntropy(of: rows[1])
        }
      }
      return CutCrossEntropy.value(
        x["features"], x["classifier"], x.targets, bias: x.has("bias") ? x["bias"] : nil,
        cap: x.optionalReal("softcap"), filter: x.real("filter_eps"))
    })
}
