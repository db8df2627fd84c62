import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let hypotheses = [noiseEmbedding, mutualInformationBound, wordErrorRate]

  /// Rows i = 2 … N: sum over j < i of (e_i - e_j); below them the same of sum_t v_it. With `negate` its negative.
  static let noiseEmbedding = Method(
    "nbest_noise_embedding", kind: .op, area: "sequence",
    summary: "How the N best hypotheses of a recogniser differ, as vectors: a measure of the noise in what it heard.",
    reference: hypothesesReference,
    parameters: [.boolean("negate", false, "The direction away from the noise, as a prompt wants it.")],
    inputs: [
      Input("sentence_embeddings", [.init(["N", "D"])], "A vector for each hypothesis, the best first."),
      Input(
        "token_embeddings", [.init(["N", "T", "D"])], isOptional: true,
        "Vectors of their tokens, aligned; the empty token where one has none."),
    ],
    properties: ["smooth"],
    implementation: .operation { x in
      let sentences = x["sentence_embeddings"]
      guard sentences.shape[0] > 1 else {
        return .invalid(.invalidShape, "At least two hypotheses are needed: one differs from nothing.")
      }
      var rows = [sentences.differencesFromEarlier()]
      if x.has("token_embeddings") {
        rows.append(x["token_embeddings"].sum(axis: 1).squeezed(1).differencesFromEarlier())
      }
      let all = Expression.concatenate(rows)
      return x.boolean("negate") ? -all : all
    })

  /// mean T(joint) - log mean exp T(marginal), a lower bound of the mutual information.
  static let mutualInformationBound = Method(
    "nbest_noise_embedding_mine", aliases: ["nbest_noise_embedding/mine", "mine_bound"], kind: .op, area: "sequence",
    summary: "The lower bound of mutual information that a statistics network gives.",
    reference: Reference(
      "Belghazi et al.", 2018, "Mutual Information Neural Estimation", arXiv: "1801.04062"),
    inputs: [
      Input("joint", [.init(["N"])], "The network's values for pairs that belong together."),
      Input("marginal", [.init(["M"])], "Its values for pairs put together at random."),
    ],
    properties: ["smooth"],
    implementation: .operation { x in
      let (joint, marginal) = (x["joint"], x["marginal"])
      let count = marginal.shape.count
      let mean = marginal.reshaped([1, count]).logSumExp() - log(.constant(Double(count)))
      return (joint.meanAll() - mean.reshaped([])).reshaped([1])
    })

  /// Least insertions, deletions and substitutions that make each hypothesis the reference, over the reference's length.
  static let wordErrorRate = Method(
    "nbest_noise_embedding_word_error_rate", aliases: ["nbest_noise_embedding/word_error_rate"], kind: .op,
    area: "sequence", summary: "The word error rate of each hypothesis; the least one is that of an oracle.",
    reference: hypothesesReference,
    inputs: [
      Input(
        "hypotheses", [.init(["N", "T"], .index(below: nil))], none: -1, "Ids of words, a row each; -1 is no word."),
      Input("reference", [.init(["U"], .index(below: nil))], "Ids of the words that were said."),
    ],
    implementation: .operation { x in
      let operation = CustomOperation(name: "word_error_rate") { (inputs, rates, _) throws(TemperError) in
        let (width, words) = (inputs[0].shape[1], try inputs[0].array(of: Int32.self))
        let said = try inputs[1].array(of: Int32.self)
        let values = (0..<rates.count).map { row in
          let heard = words[(row * width)..<((row + 1) * width)].filter { $0 >= 0 }
          return Double(editDistance(heard, said)) / Double(said.count)
        }
        try rates.assign(from: try Tensor(values))
      }
      return .custom(operation, [x["hypotheses"], x["reference"]], shape: [x["hypotheses"].shape[0]])
    })

  /// Row by row of the table d(i, j) = min(d(i-1, j) + 1, d(i, j-1) + 1, d(i-1, j-1) + [a_i != b_j]).
  private static func editDistance(_ a: [Int32], _ b: [Int32]) -> Int {
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, y) in b.enumerated() {
        let change = diagonal + (x == y ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(change, row[j + 1] + 1, row[j] + 1)
      }
    }
    return row[b.count]
  }

  private static let hypothesesReference = Reference(
    "Hu et al.", 2024, "Large Language Models are Efficient Learners of Noise-Robust Speech Recognition",
    arXiv: "2401.10446")
}

extension Expression {
  /// Rows 1 … N-1 of (N, D): i e_i - sum over j < i of e_j.
  fileprivate func differencesFromEarlier() -> Expression {
    let n = shape[0]
    let column = Expression.iota([n, n], axis: 1)
    let row = Expression.iota([n, n], axis: 0)
    let factors = Expression.select(column .== row, row, .select(column .< row, .constant(-1), .constant(0)))
    // Taken from the first one, which changes no difference: equal rows give exactly 0.
    return .matmul(factors.slice(1..<n), self - slice(0..<1))
  }
}
