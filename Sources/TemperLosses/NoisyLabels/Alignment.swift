import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let alignment = [noisyModelTuning, kernelAlignment]

  /// CE + lam (|f/|f| - z/|z||^2 + (1 / D) sum_{i != j} C_ij^2 - s_1 / sum_j s_j): f pre-trained features, z tuned ones, C their
  /// covariance and s their singular values over the batch. The parts of the batch are added to every sample.
  static let noisyModelTuning = Method(
    "nmtune", kind: .loss, area: "noisy-labels",
    summary: "Light tuning of features that were pre-trained on noisy labels.",
    reference: Reference(
      "Chen et al.", 2024,
      "Understanding and Mitigating the Label Noise in Pre-training on Downstream Tasks", arXiv: "2309.17002"),
    parameters: [.real("lam", 0.01, in: .nonNegative, "The factor of the regularisers.")],
    inputs: [
      .logits, .targets, Input("features", [.init(["N", "D"])], "Tuned features."),
      Input("pretrained_features", [.init(["N", "D"])], isDifferentiable: false, "Features before tuning."),
    ],
    properties: ["first_order"],
    implementation: .loss { x in
      let (z, f) = (x["features"], x["pretrained_features"])
      let (n, d) = (z.shape[0], z.shape[1])
      let kept = square(f.normalizedRows() - z.normalizedRows()).sum()
      let centred = z - z.mean(axis: 0)
      let covariance = Expression.matmul(centred, centred, transposeA: true) / Double(max(n - 1, 1))
      let offDiagonal = square(covariance * not(.identity(d))).sumAll() / Double(d)
      let share = z.dominantSingularShare()
      return x.crossEntropy + x.real("lam") * (kept + offDiagonal - share)
    })

  /// CE + lam (1 - CKA), CKA = <HKH, HLH> / (|HKH| |HLH|) of the Gram matrices K, L of both features, H centring.
  static let kernelAlignment = Method(
    "guidance_cka_alignment", kind: .loss, area: "distill",
    summary: "Draws a layer's features towards those of a guide, up to rotation and scale.",
    reference: Reference(
      "Subramaniam et al.", 2024, "Training the Untrainable: Introducing Inductive Bias via Representational Alignment",
      arXiv: "2410.20035"),
    parameters: [.real("lam", 1, in: .nonNegative, "The factor of the alignment.")],
    inputs: [
      .logits, .targets, Input("features", [.init(["N", "D"])], "The layer's features."),
      Input("guide_features", [.init(["N", "E"])], isDifferentiable: false, "The guide's features, constant."),
    ],
    properties: ["smooth"],
    implementation: .loss { x in
      // <HKH, HLH> = |A^T B|^2 for centred features, and |HKH| = |A^T A|.
      func product(_ a: Expression, _ b: Expression) -> Expression {
        square(Expression.matmul(a, b, transposeA: true)).sumAll()
      }
      let a = x["features"] - x["features"].mean(axis: 0)
      let b = x["guide_features"] - x["guide_features"].mean(axis: 0)
      let norms = product(a, a) * product(b, b)
      let isZero = norms .== 0
      let similarity = Expression.select(
        isZero, .constant(0), product(a, b) / sqrt(.select(isZero, .constant(1), norms)))
      return x.crossEntropy + x.real("lam") * (1 - similarity)
    })
}
