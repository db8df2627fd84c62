import TemperCatalogue
import TemperGraph

// Softmax cross-entropy of scale * cosines of features and class rows, with a margin at the target's.

extension Losses {
  static let angularMargins = [normFace, cosFace, arcFace]

  /// No margin.
  static let normFace = angularLoss(
    "normface", aliases: ["normalized_softmax"], "Cross-entropy of scaled cosines.",
    Reference(
      "Wang, Xiang, Cheng and Yuille", 2017, "NormFace: L2 Hypersphere Embedding for Face Verification",
      arXiv: "1704.06369"),
    scale: 20
  ) { _, cosine in cosine }

  /// cos(theta) - m.
  static let cosFace = angularLoss(
    "cosface", aliases: ["am_softmax"], "Cross-entropy of scaled cosines; the target's must lead by a margin.",
    Reference(
      "Wang et al.", 2018, "CosFace: Large Margin Cosine Loss for Deep Face Recognition", arXiv: "1801.09414"),
    scale: 64, [.real("margin", 0.35, in: .nonNegative, "Taken from the target's cosine.")]
  ) { x, cosine in cosine - x.real("margin") }

  /// cos(theta + m), and cos(theta) - m sin m where theta + m would pass pi.
  static let arcFace = angularLoss(
    "arcface", "Cross-entropy of scaled cosines; the target's angle must lead by a margin.",
    Reference(
      "Deng, Guo, Xue and Zafeiriou", 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition",
      arXiv: "1801.07698"),
    scale: 64, [.real("margin", 0.5, in: .nonNegative, "Added to the target's angle.")]
  ) { x, cosine in cosine.cosineAfterAngle(x.real("margin")) }

  private static func angularLoss(
    _ name: String, aliases: [String] = [], _ summary: String, _ reference: Reference, scale: Double,
    _ parameters: [Parameter] = [], _ withMargin: @escaping @Sendable (Formula, Expression) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .loss, area: "semi", summary: summary, reference: reference,
      parameters: [.real("scale", scale, in: .positive, "The factor of the cosines.")] + parameters,
      inputs: [
        Input("features", [.init(["N", "D"])], "Embeddings."),
        Input("weights", [.init(["C", "D"])], "A row for each class."),
        .classIds,
      ],
      properties: ["nonnegative"],
      implementation: .loss { x in
        let cosines = Expression.matmul(
          x["features"].normalizedRows(), x["weights"].normalizedRows(), transposeB: true)
        let target = withMargin(x, cosines.pick(x.targets))
        let others = (x.real("scale") * cosines).logSumExp(where: 1 - .oneHot(x.targets, columns: cosines.shape.last))
        return softplus(others - x.real("scale") * target)
      })
  }
}

extension Expression {
  /// cos(theta + m) of cosines: cos cos m - sin sin m while theta + m <= pi, that is cos >= -cos m.
  func cosineAfterAngle(_ margin: Double) -> Expression {
    let m = Expression.constant(margin)
    let sine = TemperGraph.sqrt(TemperGraph.maximum(1 - TemperGraph.square(self), 1e-12))
    return .select(
      self .>= -TemperGraph.cos(m), self * TemperGraph.cos(m) - sine * TemperGraph.sin(m), self - m * TemperGraph.sin(m)
    )
  }
}
