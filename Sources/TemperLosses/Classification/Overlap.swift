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
    inputs: [.logits, .classIds], properties: ["batch", "shift_invariant", "nonnegative"],
    implementation: .loss { x in
      let truth = Expression.oneHot(x.targets, columns: x.classes).transposed
      let errors = abs(truth - x.probabilities.transposed)
      let order = errors.sortOrder(descending: true)
      let sorted = truth.takeAlong(order)
      let total = truth.sum()
      // With k wrong: those of the class that are still right, over the class and the wrong ones of other classes.
      let jaccard = 1 - (total - sorted.cumulativeSum()) / (total + (1 - sorted).cumulativeSum())
      let n = jaccard.shape.last
      let before = jaccard.slice(0..<(n - 1), axis: -1).padded(before: 1, after: 0, axis: -1)
      let losses = (errors.takeAlong(order) * (jaccard - before).stopGradient).sum()
      guard x.text("classes") == "present" else { return losses.meanAll().reshaped([1, 1]) }
      let isPresent = total .> 0
      return ((isPresent * losses).sumAll() / isPresent.sumAll()).reshaped([1, 1])
    })
}
