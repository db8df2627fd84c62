import TemperCatalogue
import TemperCore
import TemperNetworks
import TemperTraining

/// Why a procedure does not fit: what several of them need of the loss and the model.
extension Procedure {
  /// A loss of logits, and a model that gives one logit for each class.
  func requireClasses(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    guard loss.inputs[0].name == "logits", model.output.rank == 1, model.output.last > 1 else {
      throw TemperError(
        .unsupported,
        "It needs a classifier: a loss of logits and a model with one output for each class; the loss \(loss.method.name) takes \(loss.inputs[0].name) and the model's output has shape \(model.output)."
      )
    }
  }

  /// Nothing but cross-entropy, which the method's own objective replaces.
  func requireCrossEntropy(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    guard loss.method.name == "cross_entropy" else {
      throw TemperError(
        .unsupported,
        "Its objective is a cross-entropy of its own: pass the loss \"cross_entropy\"; \(loss.method.name) came.")
    }
  }

  /// A loss that reads nothing by sample but targets: it is taken of trusted samples too.
  func requireTargetsAlone(_ loss: LossInstance) throws(TemperError) {
    let others = loss.method.inputs.dropFirst().filter { $0.name != "targets" && !$0.isOptional }
    guard let other = others.first(where: { $0.forms.contains { $0.shape.first == "N" } }) else { return }
    throw TemperError(
      .unsupported,
      "It takes the loss of trusted samples, for which \(loss.method.name) would need \"\(other.name)\" too.")
  }

  /// A loss that takes targets as a probability for each class, which the method puts in place of class ids.
  func requireProbabilities(_ loss: LossInstance) throws(TemperError) {
    let targets = loss.inputs.first { $0.name == "targets" }
    guard targets?.forms.contains(where: { $0.shape == ["N", "C"] }) ?? false else {
      throw TemperError(
        .unsupported, "Guesses are targets as probabilities, (N, C); \(loss.method.name) takes class ids alone.")
    }
  }

  /// A loss that has a value for each sample.
  func requireValueBySample(_ loss: LossInstance) throws(TemperError) {
    guard !loss.isBatchLoss else {
      throw TemperError(
        .unsupported,
        "It looks at the loss of each sample; \(loss.method.name) has one value for the whole batch.")
    }
  }
}
