import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let decoders = [
    instructiveDecoding, topSigma, bestOf, greenList, gumbelToken, gumbelWeights, greenDetector, nearestNeighbours,
    wordBits, bitDetector, uncertaintyContrast,
  ]

  /// z - epsilon z_noisy.
  static let instructiveDecoding = decoder(
    "instructive_decoding", "Scores contrasted with those under a corrupted instruction.",
    Reference(
      "Kim et al.", 2024,
      "Distort, Distract, Decode: Instruction-Tuned Model Can Refine its Response from Noisy Instructions",
      arXiv: "2311.00233"),
    [.real("epsilon", 0.3, in: .nonNegative, "How much is taken away.")],
    [.vocabulary("logits"), .vocabulary("noisy_logits")]
  ) { x in x["logits"] - x.real("epsilon") * x["noisy_logits"] }

  /// softmax(l / T) over the tokens with l >= max - n std; -inf entries leave maximum and deviation.
  static let topSigma = decoder(
    "top_n_sigma", "Keeps the tokens near the best one, measured in standard deviations; gives probabilities.",
    Reference("Tang et al.", 2024, "Top-n sigma: Not All Logits Are You Need", arXiv: "2411.07641"),
    [
      .real("n", 1, in: .nonNegative, "How many deviations below the best are kept."),
      .real("temperature", 1, in: .positive, "The temperature of what is kept."),
      .integer("ddof", 1, in: 0...1, "1 for the sample's deviation, 0 for the population's."),
    ],
    [.vocabulary("logits")]
  ) { x in
    let l = x["logits"]
    let isThere = l .!= -.infinity
    let values = Expression.select(isThere, l, .constant(0))
    let count = isThere.sum()
    let mean = values.sum() / count
    let squares = Expression.select(isThere, square(values - mean), .constant(0)).sum()
    let deviation = sqrt(squares / maximum(count - Double(x.integer("ddof")), 1))
    let isKept = isThere .& (l .>= l.maximum() - x.real("n") * deviation)
    return Expression.select(isKept, values / x.real("temperature"), .constant(-.infinity)).softmax()
  }

  /// The index of the largest reward of each row; the first of equals.
  static let bestOf = decoder(
    "alignment_resampling", "The best of several generations by their rewards.", watermarkReference, [],
    [Input("rewards", [.init(["...", "K"])], "A row of rewards for each prompt.")],
    properties: ["reduces_axis", "whole"]
  ) { $0["rewards"].argmax() }

  /// z + delta on the green tokens.
  static let greenList = decoder(
    "alignment_resampling_kgw", aliases: ["alignment_resampling/kgw"], "Raises the green tokens of a watermark.",
    watermarkReference, [.real("delta", 2, "What green tokens gain.")],
    [.vocabulary("logits"), Input("green", [.init(["...", "V"], .mask)], "1 for the green tokens.")]
  ) { x in x["logits"] + x.real("delta") * x["green"] }

  /// argmax of log(u) / p, that is of u^(1 / p).
  static let gumbelToken = decoder(
    "alignment_resampling_gumbel", aliases: ["alignment_resampling/gumbel"], "The token of a Gumbel watermark.",
    watermarkReference, [], [.vocabulary("logits"), .uniforms], properties: ["reduces_axis", "whole"]
  ) { $0.gumbelScores.argmax() }

  /// u^(1 / p) over its sum: the distribution of the variant that draws.
  static let gumbelWeights = decoder(
    "alignment_resampling_gumbel_multinomial", aliases: ["alignment_resampling/gumbel_multinomial"],
    "The distribution from which a resampled Gumbel watermark draws.", watermarkReference, [],
    [.vocabulary("logits"), .uniforms]
  ) { $0.gumbelScores.softmax() }

  /// (G - gamma T) / sqrt(T gamma (1 - gamma)) for each row of T hits.
  static let greenDetector = decoder(
    "alignment_resampling_detect", aliases: ["alignment_resampling/detect"], "The z-score of green tokens in a text.",
    watermarkReference,
    [
      .real("gamma", 0.25, in: Interval(0, 1, includesLower: false, includesUpper: false), "The share of green tokens.")
    ],
    [Input("green_hits", [.init(["...", "T"], .mask)], "1 for the tokens that are green.")],
    properties: ["reduces_axis"]
  ) { x in
    let (gamma, t) = (x.real("gamma"), Double(x["green_hits"].shape.last))
    return (x["green_hits"].sum() - gamma * t) / (t * gamma * (1 - gamma)).squareRoot()
  }

  /// lam p_kNN + (1 - lam) softmax(z), p_kNN(v) ~ sum over the k nearest keys with token v of exp(-|q - key|^2 / T). Keys as
  /// near as the k-th one count too.
  static let nearestNeighbours = decoder(
    "knn_lm", "A language model's probabilities mixed with those of the nearest contexts.",
    Reference(
      "Khandelwal, Levy, Jurafsky, Zettlemoyer and Lewis", 2020,
      "Generalization through Memorization: Nearest Neighbor Language Models", arXiv: "1911.00172"),
    [
      .integer("k", 1024, in: 1 ... .max, "How many keys; more than there are: all."),
      .real("lam", 0.25, in: .unit, "The share of the neighbours."),
      .real("temperature", 1, in: .positive, "Squared distances are divided by this."),
    ],
    [
      Input("logits", [.init(["N", "V"])], "The model's scores."), Input("queries", [.init(["N", "D"])], "Contexts."),
      Input("keys", [.init(["M", "D"])], "Stored contexts."),
      Input("next_tokens", [.init(["M"], .index(below: "V"))], "The token after each stored context."),
    ]
  ) { x in
    let distances = Expression.squaredDistances(x["queries"], x["keys"])
    let stored = distances.shape[1]
    let k = min(x.integer("k"), stored)
    let farthest = distances.sorted().slice((k - 1)..<k, axis: 1)
    let kept = Expression.select(distances .<= farthest, -distances / x.real("temperature"), .constant(-.infinity))
    let tokens = Expression.oneHot(x["next_tokens"], columns: x["logits"].shape[1])
    return x.real("lam") * .matmul(kept.softmax(), tokens) + (1 - x.real("lam")) * x["logits"].softmax()
  }

  /// SHA-256(w_(i-1) w_i) mod 2 for every word w_i after the first, the digest read big-endian: T - 1 bits of T words.
  static let wordBits = decoder(
    "synonym_watermark", "The bit of every word of a text, given the word before it; an embedder seeks ones.",
    synonymReference, [],
    [
      Input(
        "words", [.init(["T", "L"], .index(below: "256"))], isText: true,
        "Words as UTF-8, padded with zeros to equal length.")
    ],
    properties: ["whole"]
  ) { x in
    let words = x["words"]
    guard words.shape[0] > 1 else {
      return .invalid(.invalidShape, "A text of at least two words is needed: the first has none before it.")
    }
    return .custom(digestBits, [words], shape: [words.shape[0] - 1])
  }

  private static let digestBits = CustomOperation(name: "synonym_watermark") { (inputs, bits, _) throws(TemperError) in
    let (count, width) = (inputs[0].shape[0], inputs[0].shape[1])
    let bytes = try inputs[0].array(of: UInt8.self)
    func word(_ row: Int) -> [UInt8] {
      let padded = bytes[(row * width)..<((row + 1) * width)]
      return Array(padded[...(padded.lastIndex { $0 != 0 } ?? padded.startIndex - 1)])
    }
    let values = (1..<count).map { Double(SHA256.digest(of: word($0 - 1) + word($0)).last! & 1) }
    try bits.assign(from: try Tensor(values))
  }

  /// (ones - n / 2) / sqrt(n / 4).
  static let bitDetector = decoder(
    "synonym_watermark_detect", aliases: ["synonym_watermark/detect"], "The z-score of ones among the bits of a text.",
    synonymReference, [],
    [Input("bits", [.init(["...", "T"], .mask)], "A bit for each word that counts.")], properties: ["reduces_axis"]
  ) { x in
    let n = Double(x["bits"].shape.last)
    return (x["bits"].sum() - n / 2) / (n / 4).squareRoot()
  }

  /// p = softmax z. Where the deviation of p (n - 1) is above the threshold: log p. Else log(w_s p + w_n q) over the tokens with
  /// p >= filter mean(p), q = softmax of the lame prompt's scores; log p if none remains.
  static let uncertaintyContrast = decoder(
    "uncertainty_contrastive_decoding", aliases: ["uscd"],
    "Where a model is unsure, its probabilities less those under a worse prompt; gives log-scores.",
    Reference(
      "Wang et al.", 2024,
      "USCD: Improving Code Generation of LLMs by Uncertainty-Aware Selective Contrastive Decoding", arXiv: "2409.05923"
    ),
    [
      .real("w_s", 1, "The factor of the full prompt."), .real("w_n", -0.7, "The factor of the lame prompt."),
      .real("threshold", 0.005, in: .nonNegative, "Above this deviation the model is sure."),
      .real("filter", 2.0 / 3, in: .nonNegative, "Tokens below this share of the mean are left out."),
    ],
    [.vocabulary("logits"), .vocabulary("lame_logits")]
  ) { x in
    let (p, q) = (x["logits"].softmax(), x["lame_logits"].softmax())
    let n = Double(p.shape.last)
    let variance = square(p - p.mean()).sum() / max(n - 1, 1)
    let isSure = variance .> x.real("threshold") * x.real("threshold")
    let score = x.real("w_s") * p + x.real("w_n") * q
    let isLeft = (p .>= x.real("filter") / n) .& (score .> 0)
    let contrast = Expression.select(isLeft, log(.select(isLeft, score, .constant(1))), .constant(-.infinity))
    return .select(isSure .| not(isLeft.maximum()), x["logits"].logSoftmax(), contrast)
  }

  private static let synonymReference = Reference(
    "Yang et al.", 2023, "Watermarking Text Generated by Black-Box Language Models", arXiv: "2305.08883")

  private static let watermarkReference = Reference(
    title: "Watermarking Degrades Alignment in Language Models: Analysis and Mitigation", arXiv: "2506.04462")

  private static func decoder(
    _ name: String, aliases: [String] = [], _ summary: String, _ reference: Reference, _ parameters: [Parameter],
    _ inputs: [Input], properties: Set<String> = [], _ value: @escaping @Sendable (Formula) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .decoder, area: "sequence", summary: summary, reference: reference,
      parameters: parameters, inputs: inputs, properties: properties, implementation: .operation { value($0) })
  }
}

extension Input {
  fileprivate static func vocabulary(_ name: String) -> Input {
    Input(name, [.init(["...", "V"])], "Scores of the tokens.")
  }

  fileprivate static let uniforms = Input(
    "uniforms", [.init(["...", "V"])], isDifferentiable: false, "Numbers in (0, 1) from the watermark's key.")
}

extension Formula {
  /// log(u) / p; -inf where p is 0.
  fileprivate var gumbelScores: Expression {
    let p = logits.softmax()
    let isOut = p .== 0
    return .select(isOut, .constant(-.infinity), log(self["uniforms"]) / .select(isOut, .constant(1), p))
  }
}
