import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let restoration = [bestOfHeads, asymmetricNoise, noiseToNoise]

  /// (10 / ln 10) ln(min_g e_g + eps), e_g the mean squared error of a head: minus the PSNR of the best one. Combined: heads
  /// are all means of two, in the order (1, 1), (2, 1), (2, 2), (3, 1), …. Relaxed: (1 - r) min + r mean of the others.
  static let bestOfHeads = Method(
    "multi_head_min_loss", aliases: ["multi_head_min"], kind: .loss, area: "generative",
    summary: "Several outputs, of which only the best one is judged.",
    reference: Reference("Liu et al.", 2022, "Multi-Outputs Is All You Need For Deblur", arXiv: "2208.13029"),
    parameters: [
      .boolean("combine_heads", true, "Means of two heads are heads too."),
      .real("eps_relax", 0, in: .belowOne, "The share of the error that the other heads get."),
      .real("log_eps", 1e-8, in: .nonNegative, "Inside the logarithm."),
    ],
    inputs: [
      Input("predictions", [.init(["N", "H", "..."])], "The outputs of all heads."),
      Input("targets", [.init(["N", "..."])], isDifferentiable: false, "What they should be."),
    ],
    implementation: .loss { x in
      let y = x["predictions"]
      let (n, heads, m) = (y.shape[0], y.shape[1], y.shape[2])
      var virtual = y
      if x.boolean("combine_heads") {
        let one = (0..<heads).map { y.slice($0..<($0 + 1), axis: 1) }
        var pairs: [Expression] = []
        for i in 0..<heads {
          for j in 0...i { pairs.append(i == j ? one[i] : 0.5 * (one[i] + one[j])) }
        }
        virtual = .concatenate(pairs, axis: 1)
      }
      let errors = square(virtual - x["targets"].reshaped([n, 1, m])).mean().squeezed()
      let (best, relax, count) = (errors.minimum(), x.real("eps_relax"), errors.shape.last)
      let error =
        relax == 0 || count == 1
        ? best : (1 - relax) * best + relax / Double(count - 1) * (errors.sum() - best)
      return 10 / 2.302585092994046 * log(error + x.real("log_eps"))
    })

  /// mean (x^ - x)^2 + l_asym mean |a - [s^ < s]| (s^ - s)^2 + l_tv (mean dh^2 + mean dv^2) of the noise map s^.
  static let asymmetricNoise = Method(
    "asymmetric_noise_estimation_loss", aliases: ["cbdnet_loss"], kind: .loss, area: "generative",
    summary: "Denoising with a noise map whose underestimation costs more.",
    reference: Reference(
      "Guo, Yan, Zhang, Zuo and Zhang", 2019, "Toward Convolutional Blind Denoising of Real Photographs",
      arXiv: "1807.04686"),
    parameters: [
      .real("alpha", 0.3, in: .unit, "The weight of overestimation; the rest is that of underestimation."),
      .real("lambda_asym", 0.5, in: .nonNegative, "The factor of the map's error."),
      .real("lambda_tv", 0.05, in: .nonNegative, "The factor of the map's variation."),
    ],
    inputs: [
      Input("predictions", [.init(["N", "H", "W"])], "Denoised images."),
      Input("targets", [.init(["N", "H", "W"])], isDifferentiable: false, "Clean images."),
      Input("noise_map", [.init(["N", "H", "W"])], "The estimated noise level."),
      Input("target_noise_map", [.init(["N", "H", "W"])], isDifferentiable: false, "The true one."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      let (s, truth) = (x["noise_map"], x["target_noise_map"])
      let (n, h, w) = (s.shape[0], s.shape[1], s.shape[2])
      func mean(_ e: Expression) -> Expression {
        e.shape.count == 0 ? .zeros([n, 1]) : e.reshaped([n, e.shape.count / n]).mean()
      }
      let weight = abs(x.real("alpha") - (s .< truth))
      let across = square(s.slice(1..<w, axis: 2) - s.slice(0..<(w - 1), axis: 2))
      let down = square(s.slice(1..<h, axis: 1) - s.slice(0..<(h - 1), axis: 1))
      return mean(square(x["predictions"] - x["targets"]))
        + x.real("lambda_asym") * mean(weight * square(s - truth))
        + x.real("lambda_tv") * (mean(across) + mean(down))
    })

  /// l2 (f - y)^2, l1 |f - y|, l0 (|f - y| + 1e-8)^gamma with y a second noisy copy; wsdr -a cos(y, f) - (1 - a) cos(m - y, m - f),
  /// a = |y|^2 / (|y|^2 + |m - y|^2), m the mixture.
  static let noiseToNoise = Method(
    "noise2noise", kind: .loss, area: "generative", summary: "Denoising trained on a second noisy copy as its target.",
    reference: Reference(
      "Kashyap, Tambwekar, Manohara and Natarajan", 2021,
      "Speech Denoising Without Clean Training Data: A Noise2Noise Approach",
      arXiv: "2104.03838"),
    parameters: [
      .choice(
        "form", ["l2", "l1", "l0", "wsdr"], "The loss: for noise of mean 0, of median 0, of mode 0, or for speech."),
      .real("gamma", 2, in: .nonNegative, "The exponent of l0, taken from 2 to 0 in training."), .elements,
    ],
    inputs: [
      Input("predictions", [.init(["N", "..."])], "The denoised signal."),
      Input("targets", [.init(["N", "..."])], isDifferentiable: false, "The second noisy copy."),
      Input(
        "mixture", [.init(["N", "..."])], isOptional: true, isDifferentiable: false, "The model's input, for wsdr."),
    ],
    implementation: .loss { x in
      let (f, y) = (x["predictions"], x["targets"])
      switch x.text("form") {
      case "l1": return x.overElements(abs(f - y))
      case "l0": return x.overElements(pow(abs(f - y) + 1e-8, x.real("gamma")))
      case "wsdr":
        guard x.has("mixture") else {
          return .invalid(.invalidArgument, "The form wsdr compares noise parts: pass the input mixture.")
        }
        let (z, v) = (x["mixture"] - y, x["mixture"] - f)
        func cosine(_ a: Expression, _ b: Expression) -> Expression { (a.normalizedRows() * b.normalizedRows()).sum() }
        let (speech, noise) = (square(y).sum(), square(z).sum())
        let total = speech + noise
        let share = Expression.select(total .== 0, .constant(0), speech / .select(total .== 0, .constant(1), total))
        return -share * cosine(y, f) - (1 - share) * cosine(z, v)
      default: return x.overElements(square(f - y))
      }
    })
}
