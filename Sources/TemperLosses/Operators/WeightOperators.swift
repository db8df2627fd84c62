import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let weightOperators = [
    orthogonalGradient, gradientReversal, weightSignature, sampledProduct, conceptEdit,
  ]

  /// g - (<w, g> / <w, w>) w over the whole tensor; rescaled to the length of g.
  static let orthogonalGradient = Method(
    "orthograd", aliases: ["orthogonal_gradient"], kind: .op, area: "softmax",
    summary: "The gradient without its part along the weights.", reference: stablemax.reference,
    parameters: [.boolean("rescale", true, "The result is as long as the gradient.")],
    inputs: [
      Input("weight", [.init(["..."])], "The weights."), Input("gradient", [.init(["..."])], "Their gradient."),
    ],
    implementation: .operation { x in
      let (w, g) = (x["weight"], x["gradient"])
      let part = (w * g).sumAll() / ((w * w).sumAll() + 1e-30)
      let rest = g - part * w
      guard x.boolean("rescale") else { return rest }
      return rest * (length(g) / (length(rest) + 1e-30))
    })

  /// x forward, -lam times the gradient backward.
  static let gradientReversal = Method(
    "gradient_reversal", aliases: ["grl"], kind: .op, area: "regularize",
    summary: "The identity, whose gradient is reversed: for players against each other.",
    reference: Reference(
      "Ganin and Lempitsky", 2015, "Unsupervised Domain Adaptation by Backpropagation", arXiv: "1409.7495"),
    parameters: [.real("lam", 1, "The factor of the reversed gradient.").named(also: "lambda")],
    inputs: [Input("x", [.init(["..."])], "Any array.")],
    implementation: .operation { x in
      let z = x["x"]
      let difference = Expression.select(isFinite(z), z - z.stopGradient, .constant(0))
      return z.stopGradient - x.real("lam") * difference
    })

  /// theta + alpha (r - (r . s / |s|^2) s), s = standard - start, r = robust - start, over the whole tensor.
  static let weightSignature = Method(
    "robust_weight_signature", kind: .op, area: "regularize",
    summary: "Adds to weights what robust training changed beyond what standard training did.",
    reference: Reference(
      "Cai, Zhang and Wang", 2023,
      "Robust Weight Signatures: Gaining Robustness as Easy as Patching Weights?", arXiv: "2302.12480"),
    parameters: [.real("alpha", 1, "How much of the signature is added.")],
    inputs: ["theta_0", "theta_standard", "theta_robust", "theta"].map {
      Input($0, [.init(["..."])], "Weights: where both began, after standard and robust training, to be patched.")
    },
    properties: ["smooth"],
    implementation: .operation { x in
      let (s, r) = (x["theta_standard"] - x["theta_0"], x["theta_robust"] - x["theta_0"])
      let squares = (s * s).sumAll()
      let isZero = squares .== 0
      let part = Expression.select(isZero, .constant(0), (r * s).sumAll() / .select(isZero, .constant(1), squares))
      return x["theta"] + x.real("alpha") * (r - part * s)
    })

  /// X Y from the num_kept inner indices of the largest p_i = |X_:i| |Y_i:| / sum, and draws j of the rest, each with the factor
  /// (1 - P_kept) / (number of draws p_j). Factors are constants for the gradient.
  static let sampledProduct = Method(
    "wta_crs_matmul", kind: .op, area: "regularize",
    summary: "An unbiased estimate of a matrix product from few of its inner indices.",
    reference: Reference(
      "Liu et al.", 2023,
      "Winner-Take-All Column Row Sampling for Memory Efficient Adaptation of Language Model", arXiv: "2305.15265"),
    inputs: [
      Input("x", [.init(["N", "M"])], "The left factor."), Input("y", [.init(["M", "K"])], "The right factor."),
      Input("draws", [.init(["S"], .index(below: "M"))], "The indices drawn from the rest."),
      Input("num_kept", [.init([])], isDifferentiable: false, "How many of the largest are kept."),
    ],
    implementation: .operation { x in
      let (a, b) = (x["x"], x["y"])
      let m = a.shape[1]
      let norms = sqrt(square(a).sum(axis: 0)) * sqrt(square(b).sum()).reshaped([1, m])
      // Factors that are 0 draw nothing, and their product is 0.
      let sum = norms.sum()
      let p = norms / .select(sum .== 0, .constant(1), sum)
      let (mine, others) = (p.reshaped([m, 1]), p)
      let earlier = Expression.iota([m, m], axis: 1) .< .iota([m, m], axis: 0)
      let rank = ((others .> mine) .| ((others .== mine) .& earlier)).sum().reshaped([1, m])
      let isKept = rank .< x["num_kept"]
      let rest = 1 - (isKept * p).sum()
      let draws = x["draws"]
      let counts = Expression.oneHot(draws, columns: m).sum(axis: 0)
      let sampled = Expression.select((counts * p) .== 0, .constant(0), rest * counts / (Double(draws.shape[0]) * p))
      return .matmul(a * (isKept + sampled).stopGradient, b)
    })

  /// (sum_i w_i W s_i c_i^T + lam W P + r W) (sum_i w_i c_i c_i^T + lam P + r I)^-1, P = sum_j p_j p_j^T: the map that sends
  /// contexts c to where safe contexts s went, and keeps what p holds.
  static let conceptEdit = Method(
    "closed_form_concept_edit", kind: .op, area: "generative",
    summary: "Edits a linear map so that some inputs are treated as others were.",
    reference: Reference(
      "Chen et al.", 2025,
      "TRCE: Towards Reliable Malicious Concept Erasure in Text-to-Image Diffusion Models", arXiv: "2503.07389"),
    parameters: [
      .real("lam", 0.02, in: .nonNegative, "How strongly the rest is kept."),
      .real("ridge", 1e-6, in: .positive, "Keeps the system solvable."),
    ],
    inputs: [
      Input("weight", [.init(["O", "D"])], "The map."), Input("contexts", [.init(["N", "D"])], "Inputs to redirect."),
      Input("safe_contexts", [.init(["N", "D"])], "What they should be treated as."),
      Input("preserve", [.init(["M", "D"])], "Inputs whose outputs stay."),
      Input("context_weights", [.init(["N"])], isOptional: true, "A weight for each redirection; 1 without it."),
    ],
    check: { (inputs, _) throws(TemperError) in
      if let bad = try inputs["context_weights"]?.array(of: Double.self).firstIndex(where: { !($0 >= 0) }) {
        throw TemperError(.outOfRange, "context_weights must be 0 or more; element \(bad) is not.")
      }
    },
    implementation: .operation { x in
      let (w, c, s, p) = (x["weight"], x["contexts"], x["safe_contexts"], x["preserve"])
      let d = w.shape[1]
      let weighted = x.has("context_weights") ? x["context_weights"] * c : c
      let kept = x.real("lam") * Expression.matmul(p, p, transposeA: true) + x.real("ridge") * .identity(d)
      let moved = Expression.matmul(.matmul(w, s, transposeB: true), weighted)
      return .matmul(moved + .matmul(w, kept), (Expression.matmul(c, weighted, transposeA: true) + kept).inverse())
    })

  private static func length(_ x: Expression) -> Expression {
    let squares = (x * x).sumAll()
    let isZero = squares .== 0
    return .select(isZero, .constant(0), sqrt(.select(isZero, .constant(1), squares)))
  }
}

extension Expression {
  /// The inverse of a symmetric positive definite matrix by Newton's method, V <- V (2 - A V) from I / |A|_1.
  func inverse() -> Expression {
    let eye = Expression.identity(shape[0])
    let a = stopGradient
    var v = eye / TemperGraph.abs(a).sum().maximum(axis: 0)
    for _ in 0..<60 { v = .matmul(v, 2 * eye - .matmul(a, v)) }
    v = v.stopGradient
    // Two more steps carry derivatives up to the third.
    for _ in 0..<2 { v = .matmul(v, 2 * eye - .matmul(self, v)) }
    return v
  }
}
