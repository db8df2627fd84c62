import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let distillations = [temperatureDistillation, decoupledDistillation, cosineDistillation]

  /// T^2 KL(softmax(teacher / T) || softmax(z / T)).
  static let temperatureDistillation = Method(
    "distillation_kl", aliases: ["temperature_kl"], kind: .loss, area: "distill",
    summary: "The divergence from a teacher's softened predictions, without targets.",
    reference: distillation.reference,
    parameters: [.real("temperature", 4, in: .positive, "Both predictions are softened by this.")],
    inputs: [.logits, .teacherLogits], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let t = x.real("temperature")
      return t * t * (x["teacher_logits"] / t).divergence(fromSoftmaxOf: x.logits / t)
    })

  /// T^2 (alpha KL(b^T || b^S) + beta KL(q^T || q^S)): b = (p_y, 1 - p_y), q the softmax over the classes other than y.
  /// With probabilities its mean over y.
  static let decoupledDistillation = Method(
    "decoupled_kd", aliases: ["dkd"], kind: .loss, area: "distill",
    summary: "What a teacher says of the target, and of the others among themselves, weighted apart.",
    reference: Reference(
      "Zhao, Cui, Song, Qiu and Liang", 2022, "Decoupled Knowledge Distillation", arXiv: "2203.08679"),
    parameters: [
      .real("temperature", 4, in: .positive, "Both predictions are softened by this."),
      .real("alpha", 1, in: .nonNegative, "The factor of the target's part."),
      .real("beta", 8, in: .nonNegative, "The factor of the others' part."),
    ],
    inputs: [.logits, .targets, .teacherLogits], properties: ["smooth", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      guard x.classes > 1 else {
        return .invalid(.invalidShape, "Decoupled distillation compares classes: pass logits of two classes or more.")
      }
      let (t, alpha, beta) = (x.real("temperature"), x.real("alpha"), x.real("beta"))
      return x.overTargets([x.logits, x["teacher_logits"]]) { rows, y in
        // log p_y, log (1 - p_y), the log of the sum of the others' exponentials, and their probabilities, 0 for y, as
        // exponentials and one factor.
        func parts(_ logits: Expression) -> (
          own: Expression, rest: Expression, total: Expression, others: Expression, inverse: Expression
        ) {
          let (total, others, inverse) = (logits / t).without(y).exponentialsOfAny()
          let lead = logits.pick(y) / t - total
          return (-softplus(-lead), -softplus(lead), total, others, inverse)
        }
        let (student, teacher) = (parts(rows[0]), parts(rows[1]))
        func term(_ teacher: Expression, _ student: Expression) -> Expression {
          let p = exp(teacher)
          return .select(p .== 0, .constant(0), p * (teacher - student))
        }
        let target = term(teacher.own, student.own) + term(teacher.rest, student.rest)
        let gaps = Expression.select(teacher.others .== 0, .constant(0), teacher.others * (rows[1] - rows[0]))
        let slope = student.inverse * student.others - teacher.inverse * teacher.others
        let others = (teacher.inverse * gaps.sum() / t - (teacher.total - student.total))
          .withSlopes([(by: rows[0], slope: slope / t)])
        return t * t * (alpha * target + beta * others)
      }
    })

  /// 1 - cos(features, teacher features).
  static let cosineDistillation = Method(
    "cosine_distillation", kind: .loss, area: "distill",
    summary: "Features should point where the teacher's do.",
    reference: Reference(
      "Sanh, Debut, Chaumond and Wolf", 2019,
      "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter", arXiv: "1910.01108"),
    inputs: [
      Input("features", [.init(["N", "D"])], "The student's features."),
      Input("teacher_features", [.init(["N", "D"])], isDifferentiable: false, "The teacher's."),
    ],
    properties: ["nonnegative"],
    implementation: .loss { x in
      1 - (x["features"].normalizedRows() * x["teacher_features"].normalizedRows()).sum()
    })
}
