import TemperCatalogue

/// The training procedures of the catalogue.
package enum Procedures {
  package static let all: [Method] =
    noisyLabels + imbalance + data + optimization + regularization + quantization

  private static let noisyLabels = [
    AdaptiveK.method, AlimPartialLabels.method, CoTeaching.method, CoTeachingPlus.method, Decoupling.method,
    DivideMix.method, EarlyLearningPlus.method, EstimatedTransition.method, GraphCodingRate.method,
    JointTraining.method, LateStopping.method, LearningToReweight.method, LinearSeparation.method,
    MentorWeights.method, MetaLabelCorrection.method, MetaLossRescaling.method,
    MetaWeightNet.method, MultilabelDescriptors.method, NestedCoTeaching.method, OverParametrization.method,
    PrivilegedInformation.method, RepresentationCalibration.method, RotationConsistency.method, SmallLoss.method,
    VolumeMinimization.method,
  ]

  private static let imbalance = [
    BackdoorAdjustment.method, BilateralBranch.method, ClassBalancedSampling.method, ClassifierRetraining.method,
    DeferredReweighting.method,
    ProgressivelyBalancedSampling.method, SemiSelf.method, TauNormalization.method,
  ]

  private static let data = [ConfidenceFilter.method, PairwiseMatch.method, RewardFilter.method]

  private static let optimization = [
    FeasibleLearning.method, MonoForward.method, SharpUnlearning.method, SurrogateSharpness.method,
  ]

  private static let quantization = [SensitivityFinetune.method]

  private static let regularization = [
    CascadeRefinement.method, DynamicSparseTraining.method, NoiseMaskPolicy.method, QuickSelection.method,
    SoftSubnetwork.method,
    WeightEnsemble.method,
  ]
}
