import TemperCatalogue
import TemperCore

/// Schedules that follow what was measured.
extension Optimizers {
  static let adaptiveSchedules = [plateau, accuracyGradient]

  /// Falls by `factor` when the best value is more than `patience` observations old. State: rate, best value,
  /// observations since, observations of rest left.
  static let plateau = adaptive(
    "plateau", aliases: ["reduce_on_plateau"], "Falls when what is observed no longer gets better.",
    [
      .choice("mode", ["min", "max"], "Whether smaller or larger is better."),
      .text("metric", "loss", "The name of what is observed."),
      .real("factor", 0.1, in: .unit, "The factor."),
      .integer("patience", 10, in: 0 ... .max, "Observations without a better one that are borne."),
      .real("threshold", 1e-4, in: .nonNegative, "By how much better is better."),
      .choice("threshold_mode", ["rel", "abs"], "A share of the best value, or a difference."),
      .integer("cooldown", 0, in: 0 ... .max, "Observations of rest after a fall."),
      .real("minimum", 0, in: .nonNegative, "The least value."),
      .real("eps", 1e-8, in: .nonNegative, "Smaller falls are not made."),
    ], nil
  ) { x in
    let (factor, minimum, eps) = (x.real("factor"), x.real("minimum"), x.real("eps"))
    let (patience, cooldown) = (Double(x.integer("patience")), Double(x.integer("cooldown")))
    let (isSmall, threshold) = (x.text("mode") == "min", x.real("threshold"))
    let isRelative = x.text("threshold_mode") == "rel"
    return AdaptiveSchedule(
      measurements: [x.text("metric"), "metric"],
      initial: [x.real("learning_rate"), isSmall ? .infinity : -.infinity, 0, 0],
      observe: { state, value in
        var (rate, best, stale, rest) = (state[0], state[1], state[2], state[3])
        let margin = isRelative && best.isFinite ? threshold * best : threshold
        if best.isInfinite || (isSmall ? value < best - margin : value > best + margin) {
          (best, stale) = (value, 0)
        } else {
          stale += 1
        }
        if rest > 0 { (rest, stale) = (rest - 1, 0) }
        if stale > patience {
          let fallen = max(rate * factor, minimum)
          if rate - fallen > eps { rate = fallen }
          (rest, stale) = (cooldown, 0)
        }
        return [rate, best, stale, rest]
      }, value: { state, _ in state[0] })
  }

  /// m_e, the mean of the last `window` accuracies; when it rises by less than `threshold` and the last fall is more than
  /// `quiet` epochs ago, lr <- max(lr factor, minimum). State: rate, quiet epochs, means so far, last mean, accuracies.
  static let accuracyGradient = adaptive(
    "accuracy_gradient_lr", aliases: ["accuracy_gradient"], "Falls when the smoothed accuracy stops rising.",
    [
      .real("factor", 0.8, in: .unit, "The factor."),
      .real("minimum", 1e-6, in: .nonNegative, "The least value.").named(also: "lr_min"),
      .integer("window", 5, in: 1...100_000, "Epochs that are averaged."),
      .integer("quiet", 5, in: 0 ... .max, "Epochs from one fall to the next."),
      .real("threshold", 0.005, "The rise of the mean that is enough."),
    ],
    Reference(
      title:
        "AccelAT: A Framework for Accelerating the Adversarial Training of Deep Neural Networks through Accuracy Gradient"
    ), learningRate: 0.001
  ) { x in
    let (factor, minimum, threshold) = (x.real("factor"), x.real("minimum"), x.real("threshold"))
    let (window, quiet) = (x.integer("window"), Double(x.integer("quiet")))
    return AdaptiveSchedule(
      measurements: ["accuracy", "metric"], initial: [x.real("learning_rate"), quiet, 0, 0],
      observe: { state, accuracy in
        var (rate, rest, means) = (state[0], state[1] + 1, state[2])
        let recent = (state.dropFirst(4) + [accuracy]).suffix(window)
        let mean = recent.reduce(0, +) / Double(recent.count)
        // As released: strictly more means than the window is long, and the quiet count begins again at 1.
        if means > Double(window), rest > quiet, mean - state[3] < threshold { (rate, rest) = (rate * factor, 1) }
        rate = max(rate, minimum)
        means += 1
        return [rate, rest, means, mean] + recent
      }, value: { state, _ in state[0] })
  }

  private static func adaptive(
    _ name: String, aliases: [String], _ summary: String, _ parameters: [Parameter], _ reference: Reference?,
    learningRate: Double = 1, _ make: @escaping @Sendable (Arguments) -> AdaptiveSchedule
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .schedule, area: "optim", summary: summary, reference: reference,
      parameters: [.learningRate(learningRate)] + parameters, properties: ["adaptive"],
      implementation: .adaptiveSchedule { make($0) })
  }
}
