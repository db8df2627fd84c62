import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let streaming = [softmaxTop, softmaxTopPositions, blockAttention, gumbelSoftmax, gumbelLogDensity]

  /// The k largest of exp(x_i - max) / sum_j exp(x_j - max), falling.
  static let softmaxTop = rowOperator(
    "online_softmax_topk", aliases: ["online_softmax/topk", "softmax_topk"],
    "The k largest probabilities of a softmax, from one reading of the row; the others are never written.",
    onlineSoftmax.reference, [.integer("k", 5, in: 1 ... .max, "How many; at most the length of the row.")],
    properties: ["smooth", "shift_invariant"]
  ) { x, z in z.softmaxTop(x.integer("k")).probabilities }

  /// Where they are; of equals the first.
  static let softmaxTopPositions = Method(
    "online_softmax_topk_positions", aliases: ["online_softmax/topk_positions"], kind: .op, area: "softmax",
    summary: "The positions of the k largest entries, the largest first.", reference: onlineSoftmax.reference,
    parameters: [.integer("k", 5, in: 1 ... .max, "How many; at most the length of the row.")],
    inputs: [Input("x", [.init(["...", "D"])], isDifferentiable: false, "Rows along the axis.")],
    properties: ["whole"], implementation: .operation { x in x["x"].softmaxTop(x.integer("k")).positions })

  /// softmax(Q K^T / sqrt d) V in tiles.
  static let blockAttention = Method(
    "online_softmax_attention", aliases: ["online_softmax/attention", "flash_attention"], kind: .op, area: "softmax",
    summary: "Attention whose weights are never stored: memory grows with the steps, not with their square.",
    reference: Reference(
      "Dao, Fu, Ermon, Rudra and Re", 2022,
      "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", arXiv: "2205.14135"),
    parameters: [
      .boolean("causal", false, "Step t sees the keys up to t."),
      .optionalReal("scale", in: .positive, "Factor of the scores; without it 1 over the root of the width."),
    ],
    inputs: [
      Input("queries", [.init(["N", "T", "D"])], "Queries of each head."),
      Input("keys", [.init(["N", "M", "D"])], "Keys."),
      Input("values", [.init(["N", "M", "E"])], "Values."),
      Input(
        "mask", [.init(["N", "M"], .mask)], isOptional: true,
        "1 for the keys that may be seen; a query that sees none gives 0."),
    ],
    properties: ["smooth"],
    implementation: .operation { x in
      .blockAttention(
        x["queries"], x["keys"], x["values"],
        scale: x.optionalReal("scale") ?? 1 / Double(x["queries"].shape.last).squareRoot(),
        isCausal: x.boolean("causal"), mask: x.has("mask") ? x["mask"] : nil)
    })

  /// softmax((x + g) / tau), g = -log(-log u); hard: one-hot of its largest entry forward, the same gradient backward.
  static let gumbelSoftmax = Method(
    "gumbel_softmax", kind: .op, area: "softmax",
    summary: "A sample of a categorical distribution that gradients pass through.",
    reference: gumbelReference,
    parameters: [
      .real("tau", 1, in: .positive, "The temperature: near 0 samples are near one-hot.").named(also: "temperature"),
      .boolean("hard", false, "Exactly one-hot, with the gradient of the soft sample."),
    ],
    inputs: [
      Input("x", [.init(["...", "D"])], "Log-probabilities, not normalised, along the last axis."),
      Input(
        "uniforms", [.init(["...", "D"])], isDifferentiable: false,
        "Numbers in (0, 1), drawn anew for each sample; the ends are moved inside."),
    ],
    properties: ["simplex"],
    implementation: .operation { x in
      let u = clamp(x["uniforms"], 1e-30, 1 - 0x1p-24)
      let y = ((x["x"] - log(-log(u))) / x.real("tau")).softmax()
      guard x.boolean("hard") else { return y }
      return .oneHot(y.argmax(), columns: y.shape.last) + (y - y.stopGradient)
    })

  /// log of Gamma(k) tau^(k-1) (sum_i p_i / y_i^tau)^(-k) prod_i p_i / y_i^(tau+1), p proportional to exp x.
  static let gumbelLogDensity = Method(
    "gumbel_softmax_log_density", aliases: ["gumbel_softmax/log_density"], kind: .op, area: "softmax",
    summary: "The log-density of a soft sample on the simplex.", reference: gumbelReference,
    parameters: [.real("tau", 1, in: .positive, "The temperature.").named(also: "temperature")],
    inputs: [
      Input("x", [.init(["...", "D"])], "Log-probabilities, not normalised."),
      Input("log_y", [.init(["...", "D"])], "Logarithms of the sample."),
    ],
    properties: ["smooth", "reduces_axis"],
    implementation: .operation { x in
      let (z, logy, tau) = (x["x"], x["log_y"].bounded, x.real("tau"))
      let k = Double(z.shape.last)
      let constant = lgamma(k) + (k - 1) * log(tau)
      return constant - k * (z - tau * logy).logSumExp() + (z - (tau + 1) * logy).sum()
    })

  private static let gumbelReference = Reference(
    "Jang, Gu and Poole", 2017, "Categorical Reparameterization with Gumbel-Softmax", arXiv: "1611.01144")
}
