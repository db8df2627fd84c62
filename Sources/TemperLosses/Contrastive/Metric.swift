import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let metric = [triplet, supervisedContrast, sigmoidPairs]

  /// max(0, |a - p| - |a - n| + margin).
  static let triplet = Method(
    "triplet", aliases: ["triplet_margin"], kind: .loss, area: "semi",
    summary: "An anchor should be nearer to its positive than to its negative.",
    reference: Reference(
      "Schroff, Kalenichenko and Philbin", 2015,
      "FaceNet: A Unified Embedding for Face Recognition and Clustering", arXiv: "1503.03832"),
    parameters: [.real("margin", 1, in: .nonNegative, "By how much.")],
    inputs: [
      Input("anchors", [.init(["N", "D"])], "Anchors."), Input("positives", [.init(["N", "D"])], "Of the same class."),
      Input("negatives", [.init(["N", "D"])], "Of another class."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      func distance(_ other: String) -> Expression {
        let squares = square(x["anchors"] - x[other]).sum()
        let isZero = squares .== 0
        return .select(isZero, .constant(0), sqrt(.select(isZero, .constant(1), squares)))
      }
      return relu(distance("positives") - distance("negatives") + x.real("margin"))
    })

  /// -mean over the others of the class of log softmax over all others of q_i . q_j / T; 0 for a sample alone in its class.
  static let supervisedContrast = Method(
    "supcon", aliases: ["supervised_contrastive"], kind: .loss, area: "semi",
    summary: "Samples of a class attract each other, all others push.",
    reference: Reference("Khosla et al.", 2020, "Supervised Contrastive Learning", arXiv: "2004.11362"),
    parameters: [.real("temperature", 0.1, in: .positive, "Similarities are divided by this.")],
    inputs: [
      Input("features", [.init(["N", "D"])], "Features, normalised inside."),
      Input(
        "targets", [.init(["N"], .index(below: nil))], "Class ids, no probabilities: two samples are a pair or not."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      let q = x["features"].normalizedRows()
      let temperature = x.real("temperature")
      return q.pairs(with: q, labels: x.targets) { q, row, all, labels in
        let s = Expression.matmul(q, all, transposeB: true) / temperature
        let isOther = row .!= .iota([1, all.shape[0]])
        let isSame = (labels[0] .== labels[1]) .& isOther
        let count = isSame.sum()
        let mean = Expression.select(isSame, s, .constant(0)).sum() / maximum(count, 1)
        let isAlone = count .== 0
        return .select(isAlone, .constant(0), .select(isAlone, .constant(0), s.logSumExp(where: isOther)) - mean)
      }
    })

  /// sum_j log(1 + exp(-y_ij (t q_i . k_j + b))), y = 1 on the diagonal and -1 elsewhere.
  static let sigmoidPairs = Method(
    "siglip", kind: .loss, area: "semi", summary: "Every pair of the batch judged by itself, matching or not.",
    reference: Reference(
      "Zhai, Mustafa, Kolesnikov and Beyer", 2023, "Sigmoid Loss for Language Image Pre-Training", arXiv: "2303.15343"),
    inputs: [
      Input("queries", [.init(["N", "D"])], "Embeddings, normalised inside."),
      Input("keys", [.init(["N", "D"])], "The other embedding of each row."),
      Input("scale", [.init([])], isOptional: true, "The factor of the similarities; 10 without it."),
      Input("bias", [.init([])], isOptional: true, "Added to them; -10 without it."),
    ],
    properties: ["smooth", "nonnegative"],
    implementation: .loss { x in
      let line = [x.has("scale") ? x["scale"] : .constant(10), x.has("bias") ? x["bias"] : .constant(-10)]
      return x["queries"].normalizedRows().pairs(with: x["keys"].normalizedRows(), shared: line) { q, row, k, line in
        let scores = line[0] * .matmul(q, k, transposeB: true) + line[1]
        let isOwn = row .== .iota([1, k.shape[0]])
        return softplus(Expression.select(isOwn, -scores, scores)).sum()
      }
    })
}
