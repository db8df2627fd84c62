import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// What a training method may change. The trainer asks at fixed points; the defaults together are plain training, and
/// a method overrides what its paper changes:
///
///     check                             when the trainer is made: does the method fit this loss and these models
///     prepare                           once: declare what is kept for each sample or for the method
///     for each epoch
///       epochWillBegin                  look at the data, rewrite kept targets or weights
///       order                           which samples, in which order
///       for each batch
///         (the plan of `objective`)     which targets, weights, views and networks; built once for each batch size and
///                                       `phase`
///         stepDidEnd                    averages of parameters, records
///       epochDidEnd                     fit mixtures, relabel, prune
///
/// What a method keeps lives in `Training` (`keep`, `keepRows`), so that checkpoints hold it and a resumed run goes on
/// with the same bits. A hook must depend on nothing else that changes.
package protocol Procedure: AnyObject {
  /// The catalogue's name.
  var name: String { get }
  /// Its parameters as text: what a checkpoint must fit.
  var settings: String { get }
  /// Networks trained side by side; each has its own parameters and optimizer state.
  var networkCount: Int { get }
  /// Batches that a step takes; more than one where the method lets one judge what is learned from another.
  var batchesPerStep: Int { get }
  /// Arrays beside the loss's own that `fit` must bring: a second view, group ids, …
  var inputs: [Input] { get }
  /// What of plain training it replaces: of methods used together only one may replace each.
  var replaces: Set<Replaced> { get }

  /// Throws an error that says why the method has no meaning with this loss or this model.
  func check(_ model: Model, _ loss: LossInstance) throws(TemperError)
  func prepare(_ training: Training) throws(TemperError)
  func epochWillBegin(_ training: Training) throws(TemperError)
  /// Sample ids in the order of this epoch's visits. Ids may be left out or stand several times.
  func order(_ training: Training) throws(TemperError) -> [Int32]
  /// Which of several objectives holds at a step, below 64: a plan is made for each.
  func phase(_ position: Position) -> Int
  /// The number, of shape (), whose gradient moves the networks that it depends on.
  func objective(_ step: StepGraph) throws(TemperError) -> Expression
  func stepDidEnd(_ training: Training) throws(TemperError)
  func epochDidEnd(_ training: Training) throws(TemperError)
}

extension Procedure {
  package var settings: String { "" }
  package var networkCount: Int { 1 }
  package var batchesPerStep: Int { 1 }
  package var inputs: [Input] { [] }
  package var replaces: Set<Replaced> { [] }

  package func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {}
  package func phase(_ position: Position) -> Int { 0 }
  package func prepare(_ training: Training) throws(TemperError) {}
  package func epochWillBegin(_ training: Training) throws(TemperError) {}

  /// Every sample once, shuffled anew in each epoch.
  package func order(_ training: Training) throws(TemperError) -> [Int32] {
    var random = training.random("shuffle").stream(training.position.epoch)
    return random.permutation(training.sampleCount).map(Int32.init(truncatingIfNeeded:))
  }

  /// The mean loss of the first network.
  package func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    try step.loss(of: try step.forward()).reduced(.mean)
  }

  package func stepDidEnd(_ training: Training) throws(TemperError) {}
  package func epochDidEnd(_ training: Training) throws(TemperError) {}
}

/// A part of plain training that a procedure may replace.
package enum Replaced: String, Sendable, CaseIterable {
  case order, objective
}

/// Plain training: every default.
package final class PlainProcedure: Procedure {
  package let name = "plain"
  package init() {}
}

/// Where a run stands.
package struct Position: Sendable, Hashable {
  /// From 1.
  package var epoch = 1
  /// Steps done in this epoch.
  package var step = 0
  /// Steps done in all.
  package var steps = 0
  /// Of the whole run and of one epoch, as far as known.
  package var epochs = 0
  package var stepsPerEpoch = 0
}
