import TemperCatalogue
import TemperGraph

extension Losses {
  static let overlap = [lovaszSoftmax]

  /// The mean over classes of sum_k e_(k) (J_k - J_{k-1}): errors e = |[y = c] - p_c| of a class from the largest, J_k the Jaccard
  /// loss 1 - |inside| / |union| if the first k samples are wrong.
  static let lovaszSoftmax = Method(
    "lovasz_softmax", kind: .loss, area: "loss",
    summary: "A convex stand-in for one minus the intersection over union of each class, over all samples (pixels).",
    reference: Reference(
      "Berman, Rannen Triki and Blaschko", 2018,
      "The Lovasz-Softmax loss: A tractable surrogate for the optimization of the intersection-over-union measure in neural networks",
      arXiv: "1705.08790"),
    parameters: [.choice("classes", ["present", "all"], "The mean over the classes of the batch, or over all.")],
    inputs: [.logits, .classIds(alone: "the overlap is one of sets of samples")],
    properties: ["batch", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let p = x.probabilities
      let errors = abs(Expression.oneHot(x.targets, columns: x.classes) - p)
      let weights = p.jaccardWeights(x.targets, ofAllClasses: x.text("classes") == "all")
      return (errors * weights).sumAll().reshaped([1, 1])
    })
}
