import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// argmax over k of accuracy(k) - tie_break k, where the scores of prefix k are sum_(d <= k) w_cd h_d: what nested
  /// dropout should keep at inference.
  static let nestedDropoutPrefix = Method(
    "nested_dropout_prefix", kind: .metric, area: "noisy-labels",
    summary: "The length of the prefix of features whose linear classifier is most accurate.",
    reference: nestedDropout.reference,
    parameters: [
      .real("prefix_tie_break", 1e-5, in: .nonNegative, "What each further feature must gain."),
      .choice("value", ["prefix", "accuracies"], "The length, or the accuracy of every length from 1 on."),
    ],
    inputs: [
      Input("features", [.init(["N", "D"])], "Before the classifier, none left out."),
      Input("weights", [.init(["C", "D"])], "Of the classifier, which has no bias."),
      Input("targets", [.init(["N"], .index(below: "C"))], "Class ids of held-out samples."),
    ],
    implementation: .operation { x in
      let (features, weights) = (x["features"], x["weights"])
      let (count, size, classes) = (features.shape[0], features.shape[1], weights.shape[0])
      let scores = (features.reshaped([count, 1, size]) * weights.reshaped([1, classes, size])).cumulativeSum()
      let chosen = scores.permuted([0, 2, 1]).argmax()
      let accuracies = (chosen .== x.targets.reshaped([count, 1, 1])).mean(axis: 0).reshaped([size])
      if x.text("value") == "accuracies" { return accuracies }
      let best = (accuracies - x.real("prefix_tie_break") * Expression.iota([size])).argmax()
      return (best + 1).reshaped([])
    })
}
