import Glibc
import TemperCatalogue
import TemperCore

/// Detectors of wrong labels.
enum LabelErrors {
  static let all: [Method] =
    [ConfidentLearning.method, ConfidentLearning.audit, lossMixture, Tabasco.method] + Dynamics.all

  static let probabilities = Input(
    "probabilities", [.init(["N", "C"])], "Of a model that did not train on these samples (cross-validation).")
  static let targets = Input("targets", aliases: ["y"], [.init(["N"], .index(below: "C"))], "The labels given.")

  /// P(wrong) of a sample is that of the component with the larger mean, of two fitted to all losses.
  static let lossMixture = Method(
    "loss_mixture", aliases: ["small_loss_mixture"], kind: .detector, area: "noisy-labels",
    summary: "Two distributions fitted to the losses: of right labels, which are small, and of wrong ones.",
    reference: Reference(
      "Arazo et al.", 2019, "Unsupervised Label Noise Modeling and Loss Correction", arXiv: "1904.11238"),
    parameters: [
      .choice("form", ["gaussian", "beta"], "The distributions; for beta, losses are moved into [0, 1]."),
      .integer("iterations", 100, in: 1...1_000_000, "Of the fit, at most (the papers: 10)."),
      .real("tolerance", 1e-3, in: .nonNegative, "A smaller change of the mean log likelihood ends it (gaussian)."),
      .real("floor", 1e-6, in: .nonNegative, "Added to variances (gaussian)."),
    ],
    keeps: [
      Input("weights", [.init(["2"])], "Shares of the two, the smaller mean first."),
      Input("first", [.init(["2"])], "Means, or the beta distributions' alpha."),
      Input("second", [.init(["2"])], "Variances, or beta."),
      Input("range", [.init(["2"])], "The smallest and largest loss of the fit."),
    ],
    calls: [
      ArrayCall("fit", [Input("losses", [.init(["N"])], "One for each sample.")]) { (work) throws(TemperError) in
        let losses = try work.reals("losses")
        let range = [losses.min() ?? 0, losses.max() ?? 0]
        if work.text("form") == "beta" {
          let fit = BetaMixture(fitting: scaled(losses, range), iterations: work.integer("iterations"))
          try work.keepMixture(fit.weights, fit.alphas, fit.betas, range)
        } else {
          let fit = try GaussianMixture(
            fitting: losses, iterations: work.integer("iterations"), tolerance: work.real("tolerance"),
            floor: max(work.real("floor"), 1e-300))
          try work.keepMixture(fit.weights, fit.means, fit.variances, range)
        }
      },
      ArrayCall(
        "score", [Input("losses", [.init(["N"])], "One for each sample.")],
        gives: [.init("scores", "The probability that the label is wrong.")], state: .required
      ) { (work) throws(TemperError) in
        let (losses, range) = (try work.reals("losses"), try work.reals("range"))
        let (weights, first, second) = (
          try work.reals("weights"), try work.reals("first"), try work.reals("second")
        )
        guard (weights + second).allSatisfy({ $0 > 0 }) else {
          throw TemperError(.outOfRange, "Weights and variances of a mixture must be above 0.")
        }
        let shares =
          work.text("form") == "beta"
          ? BetaMixture(weights: weights, alphas: first, betas: second).posteriors(scaled(losses, range))
          : GaussianMixture(weights: weights, means: first, variances: second).posteriors(losses)
        try work.give("scores", losses.indices.map { shares[2 * $0 + 1] })
      },
    ])

  private static func scaled(_ losses: [Double], _ range: [Double]) -> [Double] {
    let width = range[1] - range[0]
    return losses.map { width > 0 ? ($0 - range[0]) / width : 0.5 }
  }
}

extension ArrayWork {
  fileprivate func keepMixture(
    _ weights: [Double], _ first: [Double], _ second: [Double], _ range: [Double]
  ) throws(TemperError) {
    try keep("weights", weights)
    try keep("first", first)
    try keep("second", second)
    try keep("range", range)
  }

  func probabilities() throws(TemperError) -> Matrix {
    let shape = try tensor("probabilities").shape
    let p = Matrix(try reals("probabilities"), rows: shape[0], columns: shape[1])
    try p.checkDistributions("probabilities")
    return p
  }
}
