import TemperCatalogue
import TemperCore
import TemperData
import TemperGraph
import TemperNetworks
import TemperTraining

/// Partial labels that may miss the truth: targets are sets of candidate classes, 0 or 1 for each class, and classes outside
/// a set count a little. ALIM, Xu et al., 2023, arXiv 2301.12077.
///
///     w = Norm((S + lam (1 - S)) P);  loss -sum w log p
///
/// lam = 0 are the weights of PRODEN. Without a lam it is set before each epoch such that a share `noise_rate` of the
/// samples prefer a class that is not a candidate.
final class AlimPartialLabels: RecordedProcedure {
  static let method = Method.procedure(
    "alim", area: "noisy-labels",
    summary: "Learns from sets of candidate classes that may miss the true one.",
    reference: Reference(
      "Xu et al.", 2023, "ALIM: Adjusting Label Importance Mechanism for Noisy Partial Label Learning",
      arXiv: "2301.12077"),
    parameters: [
      .optionalReal("lam", in: .unit, "The weight of classes outside the set; none: from noise_rate."),
      .real("noise_rate", 0.1, in: .unit, "The share of sets that miss the truth."),
      .integer("e0", 20, in: 0 ... .max, "Epochs with lam = 0 before.").named(also: "warmup_epochs"),
      .choice("norm", ["scale", "onehot"], "Weights in proportion, or the likeliest class alone."),
      .real("C", 1, in: .positive, "The power 1/C of weights in proportion."),
    ], replaces: [.objective], AlimPartialLabels.self)

  let arguments: Arguments
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) { try requireCrossEntropy(model, loss) }

  func prepare(_ training: Training) throws(TemperError) {
    try training.keep("lam", initial: arguments.optionalReal("lam") ?? 0)
    let sets = try training.targets()
    guard sets.kind == .real else {
      throw TemperError(
        .invalidArgument, "The targets are sets of candidates here, (N, C) of 0 and 1; class ids came.")
    }
  }

  func phase(_ position: Position) -> Int { position.epoch > arguments.integer("e0") ? 1 : 0 }

  /// The noise_rate-quantile of max over candidates of p by max over the others.
  func epochWillBegin(_ training: Training) throws(TemperError) {
    guard arguments.optionalReal("lam") == nil, phase(training.position) == 1 else { return }
    let classes = training.networks[0].model.output.last
    let p = try Matrix(training.outputs()).softmax().values
    let sets = try training.targets().tensor.array(of: Double.self)
    var ratios: [Double] = []
    for start in stride(from: 0, to: p.count, by: classes) {
      var (inside, outside) = (0.0, 0.0)
      for index in start..<start + classes {
        if sets[index] > 0 { inside = max(inside, p[index]) } else { outside = max(outside, p[index]) }
      }
      ratios.append(outside > 0 ? inside / outside : .infinity)
    }
    let place = min(Int(arguments.real("noise_rate") * Double(ratios.count)), ratios.count - 1)
    try training.kept("lam").fill(min(ascending(ratios)[place], 1))
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let logits = try step.forward()
    let sets = try step.rows("targets")
    let lam = step.phase == 0 ? .constant(0) : try step.whole("lam")
    let belief = ((sets + lam * (1 - sets)) * logits.softmax()).stopGradient
    let weights =
      arguments.text("norm") == "onehot"
      ? Expression.oneHot(belief.argmax(), columns: logits.shape.last) : belief.sharpened(arguments.real("C"))
    return -(weights.stopGradient * logits.logSoftmax()).sum().meanAll()
  }
}
