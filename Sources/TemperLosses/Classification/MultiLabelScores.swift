import TemperCatalogue
import TemperGraph

extension Losses {
  static let multiLabelScores = [asymmetric, tversky]

  /// -y (1 - p)^gamma_pos log p - (1 - y) m^gamma_neg log(1 - m), m = max(p - clip, 0), summed over labels.
  static let asymmetric = Method(
    "asymmetric_loss", aliases: ["asl"], kind: .loss, area: "imbalance",
    summary: "Several labels a sample: easy negatives are turned down harder than easy positives.",
    reference: Reference(
      "Ridnik et al.", 2021, "Asymmetric Loss For Multi-Label Classification", arXiv: "2009.14119"),
    parameters: [
      .real("gamma_neg", 4, in: .nonNegative, "The focusing of negatives."),
      .real("gamma_pos", 1, in: .nonNegative, "The focusing of positives."),
      .real("clip", 0.05, in: .belowOne, "Negatives this unlikely do not count."),
    ],
    inputs: [
      .multiLabelLogits,
      Input(
        "targets", [.init(["N", "L"], .mask), .init(["N", "L"])], isDifferentiable: false, in: .unit,
        "1 for the labels of a sample, or the probability of each, 0 to 1."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      let z = maximum(x["logits"], -1e30)
      let positive = oneMinusProbability(-softplus(-z), to: x.real("gamma_pos")) * softplus(-z)
      let clip = x.real("clip")
      // log(1 - m), 1 - m = min(1 - p + clip, 1); m to a power is 0 at 0.
      let rest = clip == 0 ? -softplus(z) : log(minimum(sigmoid(-z) + clip, 1))
      let negative = oneMinusProbability(rest, to: x.real("gamma_neg")) * -rest
      return x.ifTarget(positive, otherwise: negative).sum()
    })

  /// 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth) of each sample's labels or pixels; alpha = beta = 1/2 is Dice.
  static let tversky = Method(
    "tversky", aliases: ["dice"], kind: .loss, area: "imbalance",
    summary: "One minus the overlap of prediction and target, with prices for both kinds of error.",
    reference: Reference(
      "Salehi, Erdogmus and Gholipour", 2017,
      "Tversky loss function for image segmentation using 3D fully convolutional deep networks", arXiv: "1706.05721"),
    parameters: [
      .real("alpha", 0.5, in: .nonNegative, "The price of false positives."),
      .real("beta", 0.5, in: .nonNegative, "The price of false negatives."),
      .real("smooth", 1, in: .nonNegative, "Keeps empty targets finite."),
    ],
    inputs: [
      Input("logits", [.init(["N", "..."])], "Scores before the sigmoid."),
      Input("targets", [.init(["N", "..."])], isDifferentiable: false, "0 or 1."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let (p, t, smooth) = (sigmoid(x["logits"]), x["targets"], x.real("smooth"))
      let hits = (p * t).sum()
      let wrong = x.real("alpha") * (p * (1 - t)).sum() + x.real("beta") * ((1 - p) * t).sum()
      return wrong / (hits + wrong + smooth)
    })
}
