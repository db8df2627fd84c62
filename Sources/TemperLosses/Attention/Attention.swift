import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let attention = [simplexFeatures, softplusAttention, conditionalTransport]

  /// exp(w_i . x - |x|^2 / 2) / sqrt(m) for the softmax kernel exp(x . y); with |x|^2 for Gauss's exp(-|x - y|^2 / 2).
  static let simplexFeatures = Method(
    "simplex_random_features", kind: .op, area: "softmax",
    summary: "Positive random features of the softmax kernel, for given projections.",
    reference: Reference(
      "Reid, Choromanski, Likhosherstov and Weller", 2023, "Simplex Random Features", arXiv: "2301.13856"),
    parameters: [.choice("kernel", ["softmax", "gaussian"], "Which kernel the products estimate.")],
    inputs: [
      Input("x", [.init(["N", "D"])], "Rows."),
      Input("projection", [.init(["M", "D"])], "A row for each feature."),
    ],
    properties: ["smooth"],
    implementation: .operation { x in
      let squares = square(x["x"]).sum() * (x.text("kernel") == "softmax" ? 0.5 : 1)
      let exponents = Expression.matmul(x["x"], x["projection"], transposeB: true) - squares
      return exp(exponents) / Double(x["projection"].shape[0]).squareRoot()
    })

  /// Scores S_ij = log d log n_i cos(q_i, k_j), A = softplus(S) by row over its sum + eps, n_i the visible keys.
  /// Re-weighted: B = max(n_i A - o_i, 0)^p over its sum + eps, o_i = 0 in the first rows and 1 afterwards; powers are of
  /// r / max r, and rows whose scores are all equal keep A.
  static let softplusAttention = Method(
    "lssar_attention", kind: .op, area: "softmax",
    summary: "Attention by softplus, scaled by the length and sharpened by a power.",
    reference: Reference(
      "Gao and Spratling", 2025,
      "Softplus Attention with Re-weighting Boosts Length Extrapolation in Large Language Models", arXiv: "2501.13428"),
    parameters: [
      .real("p", 15, in: .positive, "The power."),
      .boolean("reweight", true, "Sharpen by the power."),
      .boolean("causal", true, "Keys after the query are hidden."),
      .integer("zero_offset_rows", 3, in: 0 ... .max, "Rows whose offset is 0."),
      .real("eps", 1e-8, in: .positive, "Added to the sums."),
    ],
    inputs: [
      Input("queries", [.init(["N", "D"])], "Queries."), Input("keys", [.init(["M", "D"])], "Keys."),
      Input("values", [.init(["M", "T"])], "Values."),
    ],
    implementation: .operation { x in
      let (n, m, d) = (x["queries"].shape[0], x["keys"].shape[0], x["queries"].shape[1])
      let isCausal = x.boolean("causal")
      if isCausal && n != m {
        return .invalid(.invalidShape, "Causal attention needs as many keys as queries; \(m) and \(n) came.")
      }
      let row = Expression.iota([n, m], axis: 0)
      let mask = isCausal ? Expression.iota([n, m], axis: 1) .<= row : .constant(1, [n, m])
      let visible = mask.sum()
      let cosine = Expression.matmul(
        x["queries"].normalizedRows(), x["keys"].normalizedRows(), transposeB: true)
      let positive = mask * softplus(log(Expression.constant(Double(d))) * log(visible) * cosine)
      let eps = x.real("eps")
      let plain = positive / (positive.sum() + eps)
      guard x.boolean("reweight") else { return .matmul(plain, x["values"]) }
      let offset = row.slice(0..<1, axis: 1) .>= Double(x.integer("zero_offset_rows"))
      let raised = mask * relu(visible * plain - offset)
      let top = raised.maximum()
      let isFlat = top .<= 0
      // A power below 1 has an infinite slope at 0.
      let (isOut, share) = (raised .<= 0, raised / .select(isFlat, .constant(1), top))
      let powers = Expression.select(isOut, .constant(0), pow(.select(isOut, .constant(1), share), x.real("p")))
      let largest = Expression.select(mask, plain, .constant(0)).maximum()
      let smallest = Expression.select(mask, plain, .constant(.infinity)).minimum()
      let keep = isFlat .| (largest .== smallest)
      let weights = Expression.select(keep, plain, powers / (powers.sum() + eps))
      return .matmul(weights, x["values"])
    })

  /// forward: sum_i p_i sum_j pi(j | i) c_ij, pi(j | i) = q_j exp(-c_ij / T) over its sum in j; backward with the roles
  /// exchanged; c = 1 - cos. Both: their sum, or rho forward + (1 - rho) backward.
  static let conditionalTransport = Method(
    "conditional_transport", kind: .op, area: "loss",
    summary: "The cost of moving one weighted set of points onto another by soft nearest neighbours, both ways.",
    reference: Reference(
      "Zheng and Zhou", 2021, "Exploiting Chain Rule and Bayes' Theorem to Compare Probability Distributions",
      arXiv: "2012.14100"),
    parameters: [
      .real("temperature", 1, in: .positive, "How soft the neighbours are."),
      .optionalReal("rho", in: .unit, "The share of the forward cost; none adds both."),
      .choice("part", ["both", "forward", "backward"], "Which direction."),
    ],
    inputs: [
      Input("x", [.init(["N", "D"])], "Points."), Input("y", [.init(["M", "D"])], "Other points."),
      Input("p", [.init(["N"])], isDifferentiable: true, "Weights of x."),
      Input("q", [.init(["M"])], "Weights of y."),
    ],
    properties: ["smooth"],
    implementation: .operation { x in
      let cost = 1 - Expression.matmul(x["x"].normalizedRows(), x["y"].normalizedRows(), transposeB: true)
      func mean(_ cost: Expression, _ from: Expression, _ to: Expression) -> Expression {
        // Weights enter as factors: a weight of 0 takes a point out.
        let closeness = to.reshaped([1, to.shape.count]) * exp((-cost / x.real("temperature")).shifted)
        let plan = closeness / closeness.sum()
        return (from.reshaped([from.shape.count, 1]) * (plan * cost).sum()).sumAll()
      }
      let forward = mean(cost, x["p"], x["q"])
      let backward = mean(cost.transposed, x["q"], x["p"])
      switch x.text("part") {
      case "forward": return forward
      case "backward": return backward
      default:
        guard let rho = x.optionalReal("rho") else { return forward + backward }
        return rho * forward + (1 - rho) * backward
      }
    })
}
