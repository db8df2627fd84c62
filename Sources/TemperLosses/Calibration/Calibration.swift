import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let calibration = [labelRelaxation, calibrationError, temperatureScaled, energyMargin, mixedTargets]

  /// 0 where p_y >= 1 - alpha, else KL(t || p) with t_y = 1 - alpha and alpha shared by the others as p shares it:
  /// (1 - alpha) log((1 - alpha) / p_y) + alpha log(alpha / (1 - p_y)). With probabilities the mean over classes.
  static let labelRelaxation = Method(
    "label_relaxation", kind: .loss, area: "uncertainty",
    summary: "Any prediction with enough probability on the target is right: no pull beyond it.",
    reference: Reference("Lienen and Huellermeier", 2021, "From Label Smoothing to Label Relaxation"),
    parameters: [
      .real("alpha", 0.1, in: .belowOne, "The probability that the other classes may have; 0 is cross-entropy.")
    ],
    inputs: [.logits, .targets], properties: ["shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let alpha = x.real("alpha")
      if alpha == 0 { return x.crossEntropy }
      let share = Expression.constant(alpha)
      /// From log p and log(1 - p) of a class.
      func loss(_ own: Expression, _ rest: Expression) -> Expression {
        let divergence = (1 - alpha) * (log(1 - share) - own) + alpha * (log(share) - rest)
        return .select(own .>= log(1 - share), .constant(0), divergence)
      }
      if x.targets.kind == .real {
        // Beyond 1 - alpha, where 1 - p may round to 0, nothing is asked.
        let own = x.logProbabilities
        return x.expectation(loss(own, log(-expm1(minimum(own, log(1 - share))))))
      }
      let lead = x.logits.pick(x.targets) - x.logits.without(x.targets).logSumExpOfAny().value
      return loss(-softplus(-lead), -softplus(lead))
    })

  /// sqrt(sum_ij (c_i - r_i) (c_j - r_j) k(r_i, r_j)) / N, r the largest probability, c whether it is the target's and
  /// k = exp(-|r_i - r_j| / width). weighted: pairs of right, of wrong, and of right and wrong predictions, each as a mean.
  /// With probabilities c is that of the class predicted.
  static let calibrationError = Method(
    "mmce", kind: .loss, area: "uncertainty",
    summary: "The distance of confidence from accuracy, by a kernel: added to cross-entropy with a weight.",
    reference: Reference(
      "Kumar, Sarawagi and Jain", 2018, "Trainable Calibration Measures for Neural Networks from Kernel Mean Embeddings"
    ),
    parameters: [
      .real("width", 0.4, in: .positive, "The width of the kernel."),
      .choice("form", ["plain", "weighted"], "All pairs alike, or means over the kinds of pairs."),
    ],
    inputs: [.logits, .targets], properties: ["batch", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let n = x.logits.shape[0]
      let confidence = x.probabilities.maximum()
      let predicted = x.logits.argmax()
      let isRight = x.targets.kind == .real ? x.targets.pick(predicted) : predicted .== x.targets
      let width = x.real("width")
      let gaps = isRight - confidence
      let weights: Expression
      if x.text("form") == "plain" {
        weights = gaps / Double(n)
      } else {
        let right = maximum(isRight.sumAll(), 1)
        let wrong = maximum(Double(n) - isRight.sumAll(), 1)
        weights = isRight * (1 - confidence) / right - (1 - isRight) * confidence / wrong
      }
      let sums = Expression.pairSums(confidence, confidence, weights: weights) { exp(-abs($0) / width) }
      return maximum((weights * sums).sumAll(), 0).safeRoot().reshaped([1, 1])
    })

  /// CE(z / T).
  static let temperatureScaled = Method(
    "temperature_scaled_cross_entropy", aliases: ["temperature_nll"], kind: .loss, area: "uncertainty",
    summary: "Cross-entropy of logits divided by a temperature, which has a gradient too: to fit it.",
    reference: Reference(
      "Guo, Pleiss, Sun and Weinberger", 2017, "On Calibration of Modern Neural Networks", arXiv: "1706.04599"),
    inputs: [
      .logits, .targets,
      Input("temperature", [.init([]), .init(["N"])], in: .positive, "For all samples, or for each; above 0."),
    ],
    properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let (z, t) = (x.logits, x["temperature"])
      // The slope by t of a masked class is that of a finite one: its probability is 0.
      return x.crossEntropy(
        (z / t).withSlopes([(by: z, slope: reciprocal(t)), (by: t, slope: -(z.bounded / square(t)))]))
    })

  /// CE + lam (max(0, E - inside)^2 + mean over outliers of max(0, outside - E)^2), E = -T log sum_c exp(z_c / T).
  static let energyMargin = Method(
    "energy_margin", aliases: ["energy_bounded"], kind: .loss, area: "uncertainty",
    summary: "Cross-entropy with the energy of data held low and that of outliers held high.",
    reference: Reference(
      "Liu, Wang, Owens and Li", 2020, "Energy-based Out-of-distribution Detection", arXiv: "2010.03759"),
    parameters: [
      .real("inside", -23, "Energies of data should lie below this."),
      .real("outside", -5, "Energies of outliers should lie above this."),
      .real("lam", 0.1, in: .nonNegative, "The factor of the margins."),
      .real("temperature", 1, in: .positive, "The temperature of the energy."),
    ],
    inputs: [
      .logits, .targets, Input("outlier_logits", [.init(["M", "C"])], isOptional: true, "Scores of outliers."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      let t = x.real("temperature")
      func energy(_ logits: Expression) -> Expression { -t * (logits / t).logSumExp() }
      var margins = square(relu(energy(x.logits) - x.real("inside")))
      if x.has("outlier_logits") {
        margins = margins + square(relu(x.real("outside") - energy(x["outlier_logits"]))).meanAll()
      }
      return x.crossEntropy + x.real("lam") * margins
    })

  /// m CE(z, y) + (1 - m) CE(z, y'): m is the share of y in the mixed input; for CutMix the share of its area.
  static let mixedTargets = Method(
    "mixup_cross_entropy", aliases: ["cutmix_cross_entropy"], kind: .loss, area: "uncertainty",
    summary: "Cross-entropy of inputs that were mixed of two samples.",
    reference: Reference(
      "Zhang, Cisse, Dauphin and Lopez-Paz", 2018, "mixup: Beyond Empirical Risk Minimization", arXiv: "1710.09412"),
    inputs: [
      .logits, .targets,
      Input("other_targets", Input.targets.forms, isDifferentiable: false, "Those of the samples mixed in."),
      Input(
        "mix", [.init([]), .init(["N"])], isDifferentiable: false, in: .unit,
        "The share of `targets`, 0 to 1, for all or for each."),
    ],
    properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let other = x["other_targets"]
      guard x.targets.kind == .index, other.kind == .index else {
        return x["mix"] * x.crossEntropy + (1 - x["mix"]) * x.logits.crossEntropy(of: other)
      }
      return x.logits.logSumExp() - (x["mix"] * x.logits.pick(x.targets) + (1 - x["mix"]) * x.logits.pick(other))
    })
}
