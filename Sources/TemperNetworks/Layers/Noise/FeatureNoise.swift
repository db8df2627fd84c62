import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// x + alpha / sqrt(T D) e in training, e of one sign or uniform or normal noise, T the steps that are not padding.
  /// Symmetric: with "double" every step of training takes the mean of the losses under +e and -e; with "alternate" one
  /// of the two signs, drawn for each sample.
  static let symmetricNoise = Method.layer(
    "symnoise", area: "sequence",
    summary: "Adds noise of a fixed norm to embedded sequences in training, with both signs.",
    reference: Reference(
      "Yadav, Singh", 2023, "SymNoise: Advancing Language Model Fine-tuning with Symmetric Noise",
      arXiv: "2312.01523"),
    options: [
      .real("alpha", 5, in: .nonNegative, "Norm of the noise of a sample, for rademacher noise exactly."),
      .choice("noise", ["rademacher", "uniform", "gaussian"], "Signs, U(-1, 1) as NEFTune has it, or N(0, 1)."),
      .boolean("symmetric", true, "Both signs of the noise."),
      .choice("pair_mode", ["double", "alternate"], "Both signs in every step, or one drawn for each sample."),
    ], main: "alpha"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(2...2, "sequences (steps, width)")
    let (alpha, kind) = (layer.real("alpha"), layer.text("noise"))
    let isPaired = layer.boolean("symmetric") && layer.text("pair_mode") == "double"
    let alternates = layer.boolean("symmetric") && !isPaired
    let (steps, width) = (layer.input[0], layer.input[1])
    if isPaired { layer.takesPairs() }
    return { x, pass in
      guard pass.mode == .training, alpha > 0 else { return x }
      let batch = x.shape[0]
      var noise: Expression =
        switch kind {
        case "rademacher": pass.signs(x.shape)
        case "uniform": 2 * pass.uniform(x.shape) - 1
        default: pass.normal(x.shape)
        }
      if alternates { noise = noise * pass.signs([batch, 1, 1]) }
      if isPaired && pass.isMirrored { noise = -noise }
      var length = Expression.constant(Double(steps))
      if let mask = pass.mask, mask.shape == [batch, steps] {
        noise = noise * mask.expanded()
        length = maximum(mask.sum(), 1).expanded()
      }
      return x + noise * (alpha / sqrt(length * Double(width))).stopGradient
    }
  }

  /// h + nu z, z ~ N(0, 1), drawn anew at every call and at inference too. The attacker compares losses that differ by
  /// less than the noise makes them differ.
  static let randomizedFeatureDefense = Method.layer(
    "randomized_feature_defense", area: "adversarial",
    summary: "Adds fresh Gaussian noise to features, at inference too, so that a black-box attacker's queries mislead.",
    reference: Reference(
      title: "Understanding the Robustness of Randomized Feature Defense Against Query-Based Adversarial Attacks",
      arXiv: "2310.00567"),
    options: [
      .real("nu", 0.1, in: .nonNegative, "Standard deviation of the noise."),
      .boolean("training", false, "Add it in training too."),
    ], main: "nu"
  ) { (layer) throws(TemperError) in
    let (nu, inTraining) = (layer.real("nu"), layer.boolean("training"))
    layer.drawsAtInference()
    return { x, pass in
      nu == 0 || (pass.mode == .training && !inTraining) ? x : x + nu * pass.normal(x.shape)
    }
  }
}
