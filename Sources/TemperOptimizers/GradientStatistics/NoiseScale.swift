import TemperCatalogue
import TemperCore
import TemperGraph

/// What gradients of several samples or batches say about their noise.
enum GradientStatistics {
  static let all: [Method] = [
    noiseScale, noiseScaleTradeoff, coordinateMedian, geometricMedian, tailIndex, productNorms, convolutionNorms,
    tableNorms, normalizationNorms, vanishingGradients,
  ]

  private static let reference = Reference(
    "McCandlish, Kaplan, Amodei and the OpenAI Dota Team", 2018, "An Empirical Model of Large-Batch Training",
    arXiv: "1812.06162")

  /// B = S / G, S the trace of the covariance of the samples' gradients and G the squared norm of their true mean, both
  /// without bias. From the gradients of n samples S is their variance's trace and G = |mean|^2 - S / n. From squared norms
  /// |g_b|^2, |g_B|^2 of means over b < B samples, G = (B |g_B|^2 - b |g_b|^2) / (B - b) and
  /// S = (|g_b|^2 - |g_B|^2) / (1 / b - 1 / B), each averaged over the steps exponentially before the ratio is taken. With a
  /// Hessian H, B = tr(H S) / (g^T H g), where the denominator too has its bias tr(H S) / n removed.
  static let noiseScale = Method(
    "gradient_noise_scale", kind: .metric, area: "optim",
    summary: "The batch size above which a larger one hardly helps: noise of the gradient over its signal.",
    reference: reference,
    parameters: [
      .real("ema", 0.99, in: .belowOne, "Weight of the past in the averages over steps; 0: the last step alone."),
      .integer("small_batch", 1, in: 1...(1 << 40), "Samples behind each of small_norms."),
      .integer("big_batch", 2, in: 1...(1 << 40), "Samples behind each of big_norms; more than small_batch."),
      .real("eps", 1e-12, in: .nonNegative, "The least denominator."),
      .choice("value", ["scale", "variance", "squared_norm"], "B, S, or G."),
    ],
    inputs: [
      Input("gradients", [.init(["N", "P"])], isOptional: true, "The gradient of each sample."),
      Input("hessian", [.init(["P", "P"])], isOptional: true, "Of the loss, with gradients."),
      Input(
        "small_norms", [.init(["T"])], isOptional: true, "Squared norms of small batches' gradients, step by step."),
      Input("big_norms", [.init(["T"])], isOptional: true, "Squared norms of large batches' gradients."),
    ],
    check: { (inputs, arguments) throws(TemperError) in
      let (hasGradients, hasNorms) = (
        inputs["gradients"] != nil, inputs["small_norms"] != nil && inputs["big_norms"] != nil
      )
      guard hasGradients != hasNorms, hasGradients || inputs["hessian"] == nil else {
        throw TemperError(
          .invalidArgument, "Give gradients (N, P), with or without hessian, or both small_norms and big_norms (T,).")
      }
      if hasGradients, (inputs["gradients"]?.shape[0] ?? 0) < 2 {
        throw TemperError(.invalidShape, "A variance needs the gradients of at least 2 samples.")
      }
      if hasNorms, arguments.integer("small_batch") >= arguments.integer("big_batch") {
        throw TemperError(.outOfRange, "big_batch must be more than small_batch.")
      }
    },
    implementation: .operation { x in
      let (variance, signal) = x.has("gradients") ? ofSamples(x) : ofNorms(x)
      let value: Expression =
        switch x.text("value") {
        case "variance": variance
        case "squared_norm": signal
        default:
          variance / .select(abs(signal) .< x.real("eps"), .constant(max(x.real("eps"), 1e-300)), signal)
        }
      return value.reshaped([])
    })

  private static func ofSamples(_ x: Formula) -> (variance: Expression, signal: Expression) {
    let g = x["gradients"]
    let count = Double(g.shape[0])
    let mean = g.mean(axis: 0)
    let centred = g - mean
    guard x.has("hessian") else {
      let variance = square(centred).sumAll() / (count - 1)
      return (variance, square(mean).sumAll() - variance / count)
    }
    func curved(_ rows: Expression) -> Expression { (rows * Expression.matmul(rows, x["hessian"])).sumAll() }
    let variance = curved(centred) / (count - 1)
    return (variance, curved(mean) - variance / count)
  }

  private static func ofNorms(_ x: Formula) -> (variance: Expression, signal: Expression) {
    let (small, big) = (Double(x.integer("small_batch")), Double(x.integer("big_batch")))
    let steps = x["small_norms"].shape.count
    let (b, c) = (x["small_norms"].reshaped([steps]), x["big_norms"].reshaped([steps]))
    let decay = x.real("ema")
    /// The newest step weighs most; the weights add up to 1.
    func average(_ values: Expression) -> Expression {
      if decay == 0 { return values.slice((steps - 1)..<steps) }
      let weights = exp((Double(steps - 1) - Expression.iota([steps])) * log(Expression.constant(decay)))
      return (weights * values).sum() / weights.sum()
    }
    return (average((b - c) / (1 / small - 1 / big)), average((big * c - small * b) / (big - small)))
  }

  /// (S / S_min - 1) (E / E_min - 1) = 1 is S_min / S + E_min / E = 1: least squares in S_min and E_min over runs that
  /// reached the same loss in S steps and E samples. The critical batch is E_min / S_min.
  static let noiseScaleTradeoff = Method(
    "gradient_noise_scale_fit_tradeoff", kind: .metric, area: "optim",
    summary: "Fits the least steps, the least samples and the critical batch to runs of several batch sizes.",
    reference: reference,
    inputs: [
      Input("steps", [.init(["T"])], "Steps that each run took."),
      Input("examples", [.init(["T"])], "Samples that each run took."),
    ],
    check: { (inputs, _) throws(TemperError) in
      if (inputs["steps"]?.count ?? 0) < 2 { throw TemperError(.invalidShape, "The fit needs at least 2 runs.") }
    },
    implementation: .operation { x in
      let count = x["steps"].shape.count
      let (u, v) = (reciprocal(x["steps"].reshaped([count])), reciprocal(x["examples"].reshaped([count])))
      let (uu, uv, vv, su, sv) = ((u * u).sum(), (u * v).sum(), (v * v).sum(), u.sum(), v.sum())
      let determinant = uu * vv - square(uv)
      let (steps, examples) = ((su * vv - sv * uv) / determinant, (sv * uu - su * uv) / determinant)
      return .concatenate([steps, examples, examples / steps])
    })
}
