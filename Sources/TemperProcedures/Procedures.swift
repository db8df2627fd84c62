import TemperCatalogue

/// The training procedures of the catalogue.
package enum Procedures {
  package static let all: [Method] = noisyLabels + imbalance

  private static let noisyLabels = [
    AdaptiveK.method, AlimPartialLabels.method, CoTeaching.method, CoTeachingPlus.method, Decoupling.method,
    DivideMix.method, EarlyLearningPlus.method, EstimatedTransition.method, JointTraining.method, LateStopping.method,
    LearningToReweight.method, MentorWeights.method, MetaLossRescaling.method, MetaWeightNet.method,
    OverParametrization.method, PrivilegedInformation.method, SmallLoss.method, VolumeMinimization.method,
  ]

  private static let imbalance = [
    ClassBalancedSampling.method, ClassifierRetraining.method, DeferredReweighting.method,
    ProgressivelyBalancedSampling.method, TauNormalization.method,
  ]
}
