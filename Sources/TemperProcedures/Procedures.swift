import TemperCatalogue

/// The training procedures of the catalogue.
package enum Procedures {
  package static let all: [Method] = [
    AdaptiveK.method, CoTeaching.method, CoTeachingPlus.method, Decoupling.method, JointTraining.method,
    LearningToReweight.method, MentorWeights.method, MetaWeightNet.method, OverParametrization.method, SmallLoss.method,
  ]
}
