import TemperCatalogue
import TemperGraph

// Softmax cross-entropy of scale * cosines of features and class rows, with a margin at the target's; with
// probabilities every class has its margin by its share.

extension Losses {
  static let angularMargins = [normFace, cosFace, arcFace]

  /// No margin.
  static let normFace = angularLoss(
    "normface", aliases: ["normalized_softmax"], "Cross-entropy of scaled cosines.",
    Reference(
      "Wang, Xiang, Cheng and Yuille", 2017, "NormFace: L2 Hypersphere Embedding for Face Verification",
      arXiv: "1704.06369"),
    scale: 20, nil)

  /// cos(theta) - m.
  static let cosFace = angularLoss(
    "cosface", aliases: ["am_softmax"], "Cross-entropy of scaled cosines; the target's must lead by a margin.",
    Reference(
      "Wang et al.", 2018, "CosFace: Large Margin Cosine Loss for Deep Face Recognition", arXiv: "1801.09414"),
    scale: 64, .real("margin", 0.35, in: .nonNegative, "Taken from the target's cosine."))

  /// cos(theta + m), and cos(theta) - m sin m where theta + m would pass pi.
  static let arcFace = angularLoss(
    "arcface", "Cross-entropy of scaled cosines; the target's angle must lead by a margin.",
    Reference(
      "Deng, Guo, Xue and Zafeiriou", 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition",
      arXiv: "1801.07698"),
    scale: 64, .real("margin", 0.5, in: .nonNegative, "Added to the target's angle."))

  private static func angularLoss(
    _ name: String, aliases: [String] = [], _ summary: String, _ reference: Reference, scale: Double,
    _ margin: Parameter?
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .loss, area: "semi", summary: summary, reference: reference,
      parameters: [.real("scale", scale, in: .positive, "The factor of the cosines.")] + (margin.map { [$0] } ?? []),
      inputs: [
        Input("features", [.init(["N", "D"])], "Embeddings."),
        Input("weights", [.init(["C", "D"])], "A row for each class."),
        .targets,
      ],
      properties: ["nonnegative"],
      implementation: .loss { x in x.angularLoss(margin == nil ? nil : x.angularMargin(name)) })
  }
}

extension Formula {
  typealias Margin = @Sendable (_ cosine: Expression, _ margin: Expression) -> Expression

  /// What a margin makes of a cosine: cos(theta + m) or cos(theta) - m.
  func angularMargin(_ name: String) -> Margin {
    if name == "arcface" { return { cosine, m in cosine.cosineAfterAngle(m) } }
    return { cosine, m in cosine - m }
  }

  /// log(1 + sum_{c != y} exp(scale (cos_c - cos_y with its margin))); with probabilities t the cross-entropy of
  /// scale * cosines with margins m t. The cosines are computed for some samples at a time.
  func angularLoss(_ withMargin: Margin?) -> Expression {
    let (features, table) = (self["features"].normalizedRows(), self["weights"].normalizedRows())
    if let error = features.error ?? table.error ?? targets.error { return .invalid(error) }
    let (scale, margin, classes) = (real("scale"), withMargin == nil ? 0 : real("margin"), table.shape[0])
    @Sendable func moved(_ cosine: Expression, _ m: Expression) -> Expression {
      withMargin.map { $0(cosine, m) } ?? cosine
    }
    return .byRowBlocks(rows: [features, targets], shared: [table], width: classes) { rows, all -> Expression in
      let (cosines, y) = (Expression.matmul(rows[0], all[0], transposeB: true), rows[1])
      if y.kind == .real { return (scale * moved(cosines, margin * y)).crossEntropy(of: y) }
      let target = scale * moved(cosines.pick(y), .constant(margin))
      let others = (scale * cosines).logSumExp(where: 1 - .oneHot(y, columns: classes))
      return softplus(others - target)
    }
  }
}

extension Expression {
  /// cos(theta + m) of cosines: cos cos m - sin sin m while theta + m <= pi, that is cos >= -cos m.
  func cosineAfterAngle(_ m: Expression) -> Expression {
    let sine = TemperGraph.sqrt(TemperGraph.maximum(1 - TemperGraph.square(self), 1e-12))
    return .select(
      self .>= -TemperGraph.cos(m), self * TemperGraph.cos(m) - sine * TemperGraph.sin(m), self - m * TemperGraph.sin(m)
    )
  }
}
