import TemperCatalogue
import TemperGraph

extension Losses {
  static let logProbabilities = [negativeLogLikelihood, multiMargin]

  /// -w_y l_y; with probabilities as targets -sum_c w_c t_c l_c.
  static let negativeLogLikelihood = Method(
    "nll", aliases: ["negative_log_likelihood"], kind: .loss, area: "loss",
    summary: "Minus the target's log-probability, for models that end in log_softmax.",
    reference: Reference("Fisher", 1922, "On the Mathematical Foundations of Theoretical Statistics"),
    parameters: [.integer("ignore_index", -100, "Class ids with this value give 0 and leave the mean's denominator.")],
    inputs: [
      Input("log_probabilities", [.init(["N", "C"])], "Logarithms of probabilities."), .targets, .classWeights,
    ],
    properties: ["smooth"],
    implementation: .loss { x in
      let l = -x["log_probabilities"]
      return x.expectation(x.has("class_weights") ? x["class_weights"] * l : l)
    })

  /// (w_y / C) sum_{j != y} max(0, margin + z_j - z_y)^p.
  static let multiMargin = Method(
    "multi_margin", kind: .loss, area: "loss",
    summary: "Every other class is asked to stay behind the target by the margin.",
    reference: Reference(
      "Weston and Watkins", 1999, "Support Vector Machines for Multi-Class Pattern Recognition"),
    parameters: [
      .real("margin", 1, in: .nonNegative, "The lead that is asked for."),
      .integer("p", 1, in: 1...2, "The power of what is missing."),
    ],
    inputs: [.logits, .classIds, .classWeights], properties: ["shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let missing = relu(x.gapsToOthers(margin: x.real("margin")))
      let values = (x.integer("p") == 2 ? square(missing) : missing).sum() / Double(x.classes)
      return x.has("class_weights") ? x.expectation(x["class_weights"].broadcast(to: x.logits.shape)) * values : values
    })
}

extension Input {
  static let classWeights = Input(
    "class_weights", [.init(["C"])], isOptional: true, isDifferentiable: false, "A factor for each class.")
}

extension Formula {
  /// margin + max_{j != y} z_j - z_y, (N, 1); -inf with one class.
  func largestGap(margin: Double) -> Expression {
    logits.without(targets).maximum() + (margin - logits.pick(targets).bounded)
  }

  /// margin + z_j - z_y for j != y, -inf at the target.
  func gapsToOthers(margin: Double) -> Expression {
    (logits + (margin - logits.pick(targets).bounded)).without(targets)
  }
}
