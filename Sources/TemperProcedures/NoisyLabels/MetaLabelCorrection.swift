import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// A teacher gives each sample a soft label, and learns to from how the student would do on trusted samples after a step on
/// them. Enhanced meta label correction, Keren Taraday and Baskin, 2023, arXiv 2305.12961.
///
///     q = c onehot(y) + (1 - c) t(x),  c = sigmoid(head(features of the teacher, y));  student: cross-entropy with q
///     teacher and head: rate mean <J, q> + cross-entropy on trusted samples + binary cross-entropy of c there,
///     J = d/dtheta log softmax(f(x)) v,  v = grad of the trusted loss after the student's step
///
/// Here with one step of look-ahead. The first half of the trusted samples keeps its labels (c should be 1), the second is
/// shown the class besides the right one of which the teacher is surest (c should be 0). Networks: student, teacher.
final class MetaLabelCorrection: RecordedProcedure {
  static let method = Method.procedure(
    "enhanced_meta_label_correction", aliases: ["emlc"], area: "noisy-labels",
    summary: "A teacher corrects labels, and learns to from what they would do to the student on trusted samples.",
    reference: Reference(
      "Keren Taraday and Baskin", 2023, "Enhanced Meta Label Correction for Coping with Label Corruption",
      arXiv: "2305.12961"),
    parameters: [
      .integer("head_hidden", 128, in: 1...65536, "The width of the head that says how far a label is kept."),
      .real("head_lr", 0.001, in: .nonNegative, "The head's learning rate, by Adam."),
    ], inputs: Trusted.inputs,
    state: [SampleState("direction", ["C"], "0: where slopes by the student's outputs are taken.")],
    replaces: [.objective], MetaLabelCorrection.self)

  let arguments: Arguments
  let networkCount = 2
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireCrossEntropy(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    _ = try training.classIds(for: self)
    let classes = training.networks[0].model.output.last
    // "direction" is what J is the derivative with respect to.
    try keepState(training)
    let step = StepGraph(count: 1, training: training, loss: training.loss)
    try head(step.features(of: try step.forward(1)), classes).prepare(training)
  }

  private func head(_ features: Expression, _ classes: Int) -> SideNetwork {
    let width = features.shape.count / features.shape[0]
    return SideNetwork("head", widths: [width + classes, arguments.integer("head_hidden"), 1])
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let logits = try step.forward(0)
    let classes = logits.shape.last
    let given = try step.targetProbabilities(classes)
    let guess = try step.forward(1)
    let features = try step.features(of: guess)
    let side = head(features, classes)
    let parameters = try side.parameters(step)
    /// c for samples with these features and labels; the trunk of the teacher does not learn by it.
    func kept(_ features: Expression, _ labels: Expression) -> Expression {
      let flat = features.reshaped([features.shape[0], features.shape.count / features.shape[0]]).stopGradient
      return side.outputs(.concatenate([flat, labels], axis: 1), parameters)
    }
    let c = sigmoid(kept(features, given))
    let q = c * given + (1 - c) * guess.softmax()
    let student = -(q.stopGradient * logits.logSoftmax()).sum().meanAll()

    // J, by differentiating twice: d/du <grad of sum u log p, v>
    let own = step.parameters(0)
    let slopes = try Differentiate.gradients(of: student, withRespectTo: own)
    let tried = zip(own, slopes).map { ($0 - step.learningRate * $1).stopGradient }
    let towards = try Differentiate.gradients(
      of: try step.trustedLoss(0, parameters: tried), withRespectTo: tried
    ).map(\.stopGradient)
    let direction = try step.rows("direction")
    let forwards = try Differentiate.gradients(of: (direction * logits.logSoftmax()).sumAll(), withRespectTo: own)
    let along = zip(forwards, towards).reduce(Expression.constant(0)) { $0 + ($1.0 * $1.1).sumAll() }
    let jacobian = try Differentiate.gradients(of: along, withRespectTo: [direction])[0].stopGradient
    let meta = step.learningRate * (jacobian * q).sum().meanAll()

    // On trusted samples.
    let right = try step.whole("trusted_y")
    let trusted = try step.forward(1, try step.trustedX(1))
    let truth = Expression.oneHot(right.reshaped([right.shape.count, 1]), columns: classes)
    let count = right.shape.count
    let wrong = Expression.oneHot(
      Expression.select(truth, .constant(-1e30), trusted).argmax().reshaped([count, 1]), columns: classes)
    let isKept = Expression.iota([count, 1], axis: 0) .< Double((count + 1) / 2)
    let shown = Expression.select(isKept, truth, wrong).stopGradient
    let score = kept(try step.features(of: trusted), shown)
    // -log sigmoid(s) where the label is right, -log(1 - sigmoid(s)) where it is not
    let retained = softplus(Expression.select(isKept, -score, score)).meanAll()
    let taught = -(truth * trusted.logSoftmax()).sum().meanAll()

    let teacher = meta + taught + retained
    try side.moved(
      step, by: try Differentiate.gradients(of: teacher, withRespectTo: parameters), rate: arguments.real("head_lr"))
    return student + teacher
  }
}
