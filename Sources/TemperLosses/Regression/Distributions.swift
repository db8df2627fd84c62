import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let distributions = [naturalGaussian, incompleteObservations, tokenizedBrier, fisherRobust]

  /// -e1 y - e2 y^2 - e1^2 / (4 e2) - log(-2 e2) / 2 + log(2 pi) / 2: mean -e1 / (2 e2), variance -1 / (2 e2), e2 < 0.
  static let naturalGaussian = Method(
    "natural_gaussian_nll", kind: .loss, area: "loss",
    summary: "The negative log-likelihood of a normal in its natural parameters, convex in both.",
    reference: Reference(
      "Immer, Schultheiss, Vogt, Schoelkopf, Buehlmann and Marx", 2023,
      "On the Identifiability and Estimation of Causal Location-Scale Noise Models", arXiv: "2210.09054"),
    inputs: [
      Input("eta1", [.init(["N"])], "Mean over variance."),
      Input("eta2", [.init(["N"])], in: .negative, "-1 over twice the variance, below 0."),
      Input("targets", [.init(["N"])], "What was observed."),
    ],
    properties: ["smooth"],
    implementation: .loss { x in
      let (e1, e2, y) = (x["eta1"], x["eta2"], x["targets"])
      let half = 0.5 * log(2 * Expression.constant(.pi))
      return half - e1 * y - e2 * square(y) - square(e1) / (4 * e2) - 0.5 * log(-2 * e2)
    })

  /// rho [y >= f] (l(y - f) - f) + f, the set of upper samples held constant; upper: pi_up n / |U| in place of rho.
  static let incompleteObservations = Method(
    "u2_regression", kind: .loss, area: "loss",
    summary: "Regression on labels of which some are too low: only those above the prediction are believed.",
    reference: Reference(
      "Katsuki and Osogami", 2023, "Regression with Sensor Data Containing Incomplete Observations",
      arXiv: "2304.13415"),
    parameters: [
      .real("rho", 1.4, in: .positive, "1 / (1 - share of upper labels that were lost)."),
      .real(
        "pi_up", 0.5, in: .unit, "The share of clean labels above the regression, if averaged over the upper ones."),
      .choice("l_up", ["absolute", "squared"], "The loss of the upper labels: |r|, or r^2 / 2."),
      .choice("normalise", ["batch", "upper"], "Averages over the batch, or over its upper labels.").named(
        also: "normalize"),
    ],
    inputs: [
      Input("predictions", [.init(["N"])], "Predictions."),
      Input("targets", [.init(["N"])], isDifferentiable: false, "Labels, some of them too low."),
    ],
    implementation: .loss { x in
      let (f, y) = (x["predictions"], x["targets"])
      let isUpper = y .>= f
      let upper = x.text("l_up") == "absolute" ? abs(y - f) : 0.5 * square(y - f)
      let factor =
        x.text("normalise") == "batch"
        ? Expression.constant(x.real("rho"))
        : x.real("pi_up") * Double(f.shape[0]) / maximum(isUpper.sumAll(), 1)
      return f + factor * isUpper * (upper - f)
    })

  /// sum_k q_k (v_k - c)^2, q = softmax(logits), v_k = k / (number of tokens - 1).
  static let tokenizedBrier = Method(
    "tokenized_brier", kind: .loss, area: "uncertainty",
    summary: "A proper score for a model that names its confidence as one of a grid of tokens.",
    reference: Reference(
      "Li et al.", 2025, "ConfTuner: Training Large Language Models to Express Their Confidence Verbally",
      arXiv: "2508.18847"),
    inputs: [
      Input("logits", [.init(["N", "K"])], "Scores of the confidence tokens, from 0 to 1."),
      Input(
        "targets", [.init(["N"])], isDifferentiable: false, in: .unit,
        "1 if the answer was right, 0 if not, or a probability, 0 to 1."),
    ],
    properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let tokens = x["logits"].shape.last
      let values = Expression.iota([tokens]) / Double(max(tokens - 1, 1))
      return (x["logits"].softmax() * square(values - x["targets"])).sum()
    })

  /// -log N(theta; m, s^2) + beta sum_k (|grad m_k|^2 / s_k^2 + 2 |grad log s_k|^2): the trace of the Fisher information of the
  /// posterior with respect to the observation.
  static let fisherRobust = Method(
    "fisher_robust_npe", kind: .loss, area: "uncertainty",
    summary: "Gaussian posterior estimation that small changes of the observation do not move.",
    reference: Reference(
      "Gloeckler, Deistler and Macke", 2023, "Adversarial robustness of amortized Bayesian inference",
      arXiv: "2305.14984"),
    parameters: [.real("beta", 0.001, in: .nonNegative, "The factor of the trace.")],
    inputs: [
      Input("mean", [.init(["N", "K"])], "Posterior means."),
      Input("log_std", [.init(["N", "K"])], "Logarithms of the posterior deviations."),
      Input("parameters", [.init(["N", "K"])], isDifferentiable: false, "True parameters."),
      Input("mean_jacobian", [.init(["N", "K", "D"])], "Derivatives of the means by the observation."),
      Input("log_std_jacobian", [.init(["N", "K", "D"])], "Derivatives of the log-deviations."),
    ],
    properties: ["smooth"],
    implementation: .loss { x in
      let (m, l) = (x["mean"], x["log_std"])
      let halfLog = 0.5 * log(2 * Expression.constant(.pi))
      let likelihood = (0.5 * square((x["parameters"] - m) * exp(-l)) + l + halfLog).sum()
      let (a, b) = (square(x["mean_jacobian"]).sum().squeezed(), square(x["log_std_jacobian"]).sum().squeezed())
      return likelihood + x.real("beta") * (a * exp(-2 * l) + 2 * b).sum()
    })
}
