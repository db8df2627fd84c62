import Glibc
import TemperCatalogue
import TemperCore

/// Confident learning: the joint distribution of given and true labels from counts of confident predictions.
enum ConfidentLearning {
  private static let paper = Reference(
    "Northcutt, Jiang and Chuang", 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
    arXiv: "1911.00068")

  private static let kept = [
    Input("thresholds", [.init(["C"])], "t_j, the mean of p_j over samples labelled j."),
    Input("confident_joint", [.init(["C", "C"])], "Counts of samples labelled i that are confidently j."),
    Input("joint", [.init(["C", "C"])], "P(given i, true j): the counts, rows scaled to the labels' counts."),
    Input("noise_rate", [.init([])], "1 - trace of the joint: the share of wrong labels."),
  ]

  private static let scored = ArrayCall.Result("scores", "0 to 1, larger where the label is less likely to be right.")
  private static let suggested = ArrayCall.Result("suggested", "The most probable class of each sample.")

  static let method = Method(
    "confident_learning", kind: .detector, area: "noisy-labels",
    summary: "Wrong labels by the probabilities of a model that did not train on them.", reference: paper,
    parameters: [
      .choice(
        "prune", ["both", "by_class", "by_noise_rate", "confident_joint"],
        "Which samples are said to be errors: by the joint's counts for each class, for each pair of classes, in both ways; or those off the diagonal of the confident joint."
      ), rankBy("self_confidence"),
    ],
    keeps: kept,
    calls: [
      fit,
      ArrayCall(
        "score", [LabelErrors.targets, LabelErrors.probabilities],
        gives: [scored, .init("is_error", "Which labels are said to be wrong."), suggested], state: .required
      ) { (work) throws(TemperError) in
        let (y, p) = (try work.ids("targets"), try work.probabilities())
        try work.give("scores", scores(y, p, work.text("rank_by")))
        try work.give("is_error", try errors(work, y, p))
        try work.give("suggested", p.likeliest)
      },
    ])

  static let audit = Method(
    "confident_learning_test_audit", kind: .detector, area: "data",
    summary: "Candidates for wrong labels of a test set: the confident joint's off-diagonal samples, by margin.",
    reference: Reference(
      "Northcutt, Athalye and Mueller", 2021,
      "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", arXiv: "2103.14749"),
    parameters: [rankBy("normalized_margin")], keeps: kept,
    calls: [
      fit,
      ArrayCall(
        "score", [LabelErrors.targets, LabelErrors.probabilities],
        gives: [
          scored, .init("candidates", "Numbers of the samples to look at, the most suspicious first."), suggested,
        ],
        state: .required
      ) { (work) throws(TemperError) in
        let (y, p) = (try work.ids("targets"), try work.probabilities())
        let scores = scores(y, p, work.text("rank_by"))
        let confident = ConfidentJoint.classes(p, try work.reals("thresholds"))
        let off = y.indices.filter { confident[$0] >= 0 && confident[$0] != y[$0] }
        try work.give("scores", scores)
        try work.give("candidates", ascendingOrder(off.map { -scores[$0] }).map { off[$0] })
        try work.give("suggested", p.likeliest)
      },
    ])

  private static func rankBy(_ initial: String) -> Parameter {
    .choice(
      "rank_by", ["self_confidence", "normalized_margin"], initial: initial,
      "1 - p_y; or (1 - p_y + max of the other p) / 2.")
  }

  private static let fit = ArrayCall("fit", [LabelErrors.targets, LabelErrors.probabilities]) {
    (work) throws(TemperError) in
    let found = ConfidentJoint(try work.probabilities(), labels: try work.ids("targets"))
    work.keep("confident_joint", try found.counts.tensor())
    try work.keep("thresholds", found.thresholds)
    work.keep("joint", try found.joint.tensor())
    try work.keep("noise_rate", [found.noiseRate], [])
  }

  private static func scores(_ y: [Int], _ p: Matrix, _ rule: String) -> [Double] {
    y.enumerated().map { sample, label in
      if rule == "self_confidence" { return 1 - p[sample, label] }
      let other = (0..<p.columns).reduce(0.0) { $1 == label ? $0 : max($0, p[sample, $1]) }
      return (1 - p[sample, label] + other) / 2
    }
  }

  private static func errors(_ work: ArrayWork, _ y: [Int], _ p: Matrix) throws(TemperError) -> [Bool] {
    let rule = work.text("prune")
    if rule == "confident_joint" {
      return zip(ConfidentJoint.classes(p, try work.reals("thresholds")), y).map { $0 >= 0 && $0 != $1 }
    }
    let joint = try Matrix(try work.tensor("joint"))
    let labels = Labels(y)
    var (byClass, byRate) = (Set<Int>(), Set<Int>())
    for (at, label) in labels.classes.enumerated() {
      let members = labels.members[at]
      let whole = joint[label].reduce(0, +)
      let share = (0..<p.columns).map { whole > 0 ? joint[label, $0] / whole : $0 == label ? 1 : 0 }
      // The n_i (1 - P(true i | given i)) samples of the class with the smallest p_i.
      let count = Int((Double(members.count) * (1 - share[label])).rounded())
      byClass.formUnion(ascendingOrder(members.map { p[$0, label] }).map { members[$0] }.prefix(max(count, 0)))
      for other in 0..<p.columns where other != label {
        // The n_i P(true j | given i) samples with the largest p_j - p_i.
        let count = Int((Double(members.count) * share[other]).rounded())
        let order = members.sorted { a, b in
          (p[b, other] - p[b, label], a) < (p[a, other] - p[a, label], b)
        }
        byRate.formUnion(order.prefix(max(count, 0)))
      }
    }
    return y.indices.map { sample in
      switch rule {
      case "by_class": byClass.contains(sample)
      case "by_noise_rate": byRate.contains(sample)
      default: byClass.contains(sample) && byRate.contains(sample)
      }
    }
  }
}

extension Matrix {
  /// The column of the largest entry of each row, the first of equals.
  package var likeliest: [Int] {
    (0..<rows).map { row in (0..<columns).reduce(0) { self[row, $1] > self[row, $0] ? $1 : $0 } }
  }
}
