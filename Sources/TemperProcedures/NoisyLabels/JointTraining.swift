import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Two networks under one objective, their losses and how far apart they are; the samples where it is smallest count.
/// JoCoR, Wei et al., 2020, arXiv 2003.02752.
///
///     l_i = (1 - lam) (l_i(1) + l_i(2)) + lam (KL(p1 | p2) + KL(p2 | p1))
final class JointTraining: RecordedProcedure {
  static let method = Method.procedure(
    "jocor", area: "noisy-labels",
    summary: "Two networks learn together, to fit and to agree, from the samples where both together is easiest.",
    reference: Reference(
      "Wei et al.", 2020, "Combating Noisy Labels by Agreement: A Joint Training Method with Co-Regularization",
      arXiv: "2003.02752"),
    parameters: KeptShare.parameters + [.real("lam", 0.1, in: .unit, "The weight of agreement; the rest is fit.")],
    replaces: [.objective], JointTraining.self)

  let arguments: Arguments
  let networkCount = 2
  private let share: KeptShare
  init(_ arguments: Arguments) { (self.arguments, share) = (arguments, KeptShare(arguments)) }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let lam = arguments.real("lam")
    let outputs = (try step.forward(0), try step.forward(1))
    let (a, b) = (try step.loss(of: outputs.0, network: 0), try step.loss(of: outputs.1, network: 1))
    let (p, q) = (outputs.0.logSoftmax(), outputs.1.logSoftmax())
    // KL(p | q) + KL(q | p) = sum (p - q) (log p - log q)
    let apart = ((exp(p) - exp(q)) * (p - q)).sum()
    let values = (1 - lam) * (a.values + b.values) + lam * apart
    let share = step.number("kept share") { [share] in share($0) }
    return values.mean(over: step.smallest(values, share: share, counted: a.counted))
  }
}
