import TemperCatalogue
import TemperGraph

extension Losses {
  static let physics = [physicsResidual]

  /// w1 (E - E_obs)^2 + w2 CE(c, y) + w3 r^2 with the residual of a relaxation r = gamma dE/dt + alpha E - beta s, s the predicted
  /// intensity: the probabilities of the classes times their intensities.
  static let physicsResidual = Method(
    "physics_residual_multitask_loss", kind: .loss, area: "loss",
    summary: "A regression and a classification that share a law of physics, whose constants are trained along.",
    reference: Reference(title: "Interpretable Multi-Task PINN for Emotion Recognition and EDA Prediction"),
    parameters: [
      .real("w_regression", 1, in: .nonNegative, "The factor of the squared error, w1."),
      .real("w_classification", 1, in: .nonNegative, "The factor of the cross-entropy, w2."),
      .real("w_residual", 0.1, in: .nonNegative, "The factor of the squared residual, w3."),
      .real("alpha", 0.1, in: .nonNegative, "The decay, where it does not come as an input.").named(also: "alpha_init"),
      .real("beta", 0.1, in: .nonNegative, "The sensitivity, likewise.").named(also: "beta_init"),
      .real("gamma", 1, in: .nonNegative, "The scale of time, likewise.").named(also: "gamma_init"),
      .choice("constants", ["values", "softplus"], "Input constants are used as they are, or through softplus."),
      .integer("intensity_class", 1, in: 0 ... .max, "The class whose probability is s, where no intensities come."),
    ],
    inputs: [
      .logits, .targets, Input("predictions", [.init(["N"])], "Predicted values E of the regression."),
      Input("observations", [.init(["N"])], isDifferentiable: false, "What was observed of it."),
      Input(
        "derivatives", [.init(["N"])], isOptional: true,
        "dE/dt at the same points; without it, and without residuals, there is no law."),
      Input("residuals", [.init(["N"])], isOptional: true, "Residuals of another law, in place of r."),
      Input("observed", [.init(["N"], .mask)], isOptional: true, "0 where there is no observation."),
      Input("intensities", [.init(["C"])], isOptional: true, "The intensity of each class."),
      Input("alpha", [.init([])], isOptional: true, "The decay."),
      Input("beta", [.init([])], isOptional: true, "The sensitivity."),
      Input("gamma", [.init([])], isOptional: true, "The scale of time."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let e = x["predictions"]
      let error = square(e - x["observations"])
      let regression = x.has("observed") ? .select(x["observed"].reshaped(error.shape), error, .constant(0)) : error
      let tasks = x.real("w_regression") * regression + x.real("w_classification") * x.crossEntropy
      if x.has("residuals") { return tasks + x.real("w_residual") * square(x["residuals"]) }
      guard x.has("derivatives") else { return tasks }
      func constant(_ name: String) -> Expression {
        guard x.has(name) else { return .constant(x.real(name)) }
        return x.text("constants") == "softplus" ? softplus(x[name]) : x[name]
      }
      let intensity: Expression
      if x.has("intensities") {
        intensity = (x.probabilities * x["intensities"]).sum()
      } else {
        let index = x.integer("intensity_class")
        guard index < x.classes else {
          return .invalid(.outOfRange, "intensity_class is \(index); there are \(x.classes) classes.")
        }
        intensity = x.probabilities.slice(index..<(index + 1), axis: 1)
      }
      let residual = constant("gamma") * x["derivatives"] + constant("alpha") * e - constant("beta") * intensity
      return tasks + x.real("w_residual") * square(residual)
    })
}
