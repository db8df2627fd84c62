import TemperCatalogue
import TemperGraph

extension Losses {
  static let classWeighting = [classBalanced, influenceBalanced]

  /// w_y L with w_c = (1 - beta) / (1 - beta^n_c), scaled so that they sum to C. L is cross-entropy, or the sum over classes of
  /// binary cross-entropy with or without the focal factor.
  static let classBalanced = Method(
    "class_balanced", aliases: ["class_balanced_loss", "cb_loss"], kind: .loss, area: "imbalance",
    summary: "Samples weighted by the inverse of how many different ones of their class the data holds.",
    reference: Reference(
      "Cui, Jia, Lin, Song and Belongie", 2019, "Class-Balanced Loss Based on Effective Number of Samples",
      arXiv: "1901.05555"),
    parameters: [
      .real("beta", 0.9999, in: .belowOne, "0 weighs all classes alike; near 1 by the inverse of their counts."),
      .choice("form", ["softmax", "sigmoid", "focal"], "The loss that is weighted."),
      .real("gamma", 2, in: .nonNegative, "The exponent of the focal form."),
    ],
    inputs: [.logits, .targets, .classCounts(in: .positive)], properties: ["nonnegative"],
    implementation: .loss { x in
      let beta = x.real("beta")
      let effective =
        beta == 0
        ? Expression.constant(1, x["class_counts"].shape) : -expm1(log(Expression.constant(beta)) * x["class_counts"])
      let inverse = 1 / effective
      let weights = (Double(x.classes) / inverse.sumAll()) * inverse
      let weight =
        x.targets.kind == .index
        ? weights.gatherRows(x.targets).reshaped(x.targets.shape) : (x.targets * weights).sum()
      if x.text("form") == "softmax" {
        return x.targets.kind == .index ? weight * x.crossEntropy : x.expectation(-(weights * x.logProbabilities))
      }
      // The loss of a class judged right with log-probability l.
      func loss(_ l: Expression) -> Expression {
        x.text("form") == "focal" ? focalValue(l, x.real("gamma")) : -l
      }
      let (t, present, absent) = (x.targetProbabilities, loss(-softplus(-x.logits)), loss(-softplus(x.logits)))
      // A logit of -inf (a mask) with target 0 costs nothing.
      return weight * (Expression.select(t .== 0, .constant(0), t * present) + (1 - t) * absent).sum()
    })

  /// alpha w_y CE / (|p - y|_1 |h|_1 + eps), h the features before the last layer: the size of the gradient of that layer.
  static let influenceBalanced = Method(
    "influence_balanced", aliases: ["ib_loss"], kind: .loss, area: "imbalance",
    summary: "Cross-entropy divided by each sample's influence on the decision boundary.",
    reference: Reference(
      "Park, Lim, Jeon and Choi", 2021, "Influence-Balanced Loss for Imbalanced Visual Classification",
      arXiv: "2110.02444"),
    parameters: [
      .real("alpha", 1000, in: .positive, "The factor of the whole."),
      .real("eps", 0.001, in: .positive, "Added to the influence."),
      .boolean("through_influence", false, "Gradients also flow through the divisor, as in the authors' code."),
    ],
    inputs: [
      .logits, .targets,
      Input(
        "features", [.init(["N", "D"])], isOptional: true,
        "What the last layer reads; without it |h| counts as 1."),
      .classWeights,
    ],
    properties: ["holds_constants", "nonnegative"],
    implementation: .loss { x in
      let error = abs(x.probabilities - x.targetProbabilities).sum()
      let influence = (x.has("features") ? error * abs(x["features"]).sum() : error) + x.real("eps")
      let divisor = x.boolean("through_influence") ? influence : influence.stopGradient
      let nll = -x.logProbabilities
      return x.real("alpha") * x.expectation(x.has("class_weights") ? x["class_weights"] * nll : nll) / divisor
    })
}
