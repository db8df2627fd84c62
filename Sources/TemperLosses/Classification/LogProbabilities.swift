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

  /// (w_y / C) sum_{j != y} max(0, margin + z_j - z_y)^p; with probabilities its mean over y.
  static let multiMargin = Method(
    "multi_margin", kind: .loss, area: "loss",
    summary: "Every other class is asked to stay behind the target by the margin.",
    reference: Reference(
      "Weston and Watkins", 1999, "Support Vector Machines for Multi-Class Pattern Recognition"),
    parameters: [
      .real("margin", 1, in: .nonNegative, "The lead that is asked for."),
      .integer("p", 1, in: 1...2, "The power of what is missing."),
    ],
    inputs: [.logits, .targets, .classWeights], properties: ["shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let (margin, isSquared, count) = (x.real("margin"), x.integer("p") == 2, Double(x.classes))
      return x.overTargets([x.logits], weights: x.has("class_weights") ? x["class_weights"] : nil) { rows, y in
        let missing = relu(rows[0].gapsToOthers(of: y, margin: margin))
        return (isSquared ? square(missing) : missing).sum() / count
      }
    })
}

extension Input {
  static let classWeights = Input(
    "class_weights", [.init(["C"])], isOptional: true, isDifferentiable: false, "A factor for each class.")
}

extension Formula {
  /// crammer_singer: max(0, margin + max_{j != y} z_j - z_y)^p, weston_watkins: the sum over j != y instead of the
  /// maximum; with probabilities its mean over y.
  func hinge(squared: Bool) -> Expression {
    let (z, margin) = (logits, real("margin"))
    guard text("form") == "crammer_singer" else {
      return overTargets([z]) { rows, y in
        let missing = relu(rows[0].gapsToOthers(of: y, margin: margin))
        return (squared ? square(missing) : missing).sum()
      }
    }
    // The largest of the others is the largest, but for that class itself.
    let top = z.argmax()
    let others =
      targets.kind == .index
      ? z.without(targets).maximum()
      : .select(.iota(z.shape, axis: 1) .== top, z.without(top).maximum(), z.pick(top))
    let own = targets.kind == .index ? z.pick(targets) : z
    let missing = relu(others + (margin - own.bounded))
    let values = squared ? square(missing) : missing
    return targets.kind == .index ? values : expectation(values)
  }
}

extension Expression {
  /// margin + z_j - z_y for j != y, -inf at y.
  func gapsToOthers(of y: Expression, margin: Double) -> Expression {
    (self + (margin - pick(y).bounded)).without(y)
  }
}
