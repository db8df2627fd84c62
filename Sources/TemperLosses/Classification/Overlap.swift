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
      // With errors e and their weights w the sum of e w is that of p s and of w at the targets, where s = -w; else
      // s = w. It is written out so that p, which is stored for its order, is all that slopes are made of.
      let p = x.probabilities
      let s = p.jaccardSlopes(x.targets, ofAllClasses: x.text("classes") == "all")
      let mean = (p * s).sum()
      return (mean - s.pick(x.targets)).withSlopes([(by: x.logits, slope: p * (s - mean))]).sumAll().reshaped([1, 1])
    })
}
