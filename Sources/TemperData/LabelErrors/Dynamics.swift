import Glibc
import TemperCatalogue
import TemperCore

/// What the course of training tells about each sample: logits of each epoch, taken while the model trains.
enum Dynamics {
  static let all: [Method] = [margins, dataMaps, forgetting]

  private static let logits = Input("logits", [.init(["E", "N", "C"])], "Of each epoch, in training's order.")
  private static let targets = LabelErrors.targets

  /// AUM_i = mean over epochs of z_y - max of the other z. Samples that were given a class of their own, which no model
  /// can know, tell how low it is for wrong labels.
  static let margins = Method(
    "aum", aliases: ["area_under_the_margin"], kind: .detector, area: "noisy-labels",
    summary: "The mean margin over training: wrong labels lose to the class that their neighbours pull them to.",
    reference: Reference(
      "Pleiss et al.", 2020, "Identifying Mislabeled Data using the Area Under the Margin Ranking",
      arXiv: "2001.10528"),
    parameters: [
      .real("percentile", 0.99, in: .unit, "Samples below this quantile of the threshold samples are errors.")
    ],
    calls: [
      ArrayCall(
        "score",
        [
          logits, targets,
          Input(
            "is_threshold", [.init(["N"], .mask)], isOptional: true,
            "Samples that were trained under a class of their own."),
        ],
        gives: [
          .init("scores", "Minus the area."), .init("aum", "The area under the margin."),
          .init("is_error", "With threshold samples: which others are said to be wrong."),
        ]
      ) { (work) throws(TemperError) in
        let course = try Course(work)
        let areas = (0..<course.samples).map { sample in
          (0..<course.epochs).reduce(0.0) { $0 + course.margin($1, sample) } / Double(course.epochs)
        }
        try work.give("scores", areas.map { -$0 })
        try work.give("aum", areas)
        guard work.has("is_threshold") else { return }
        let isThreshold = try work.mask("is_threshold")
        let known = ascending(areas.indices.filter { isThreshold[$0] }.map { areas[$0] })
        guard !known.isEmpty else { throw TemperError(.outOfRange, "is_threshold names no sample.") }
        // The quantile between order statistics, as NumPy takes it.
        let at = work.real("percentile") * Double(known.count - 1)
        let (low, high) = (known[Int(at)], known[min(Int(at) + 1, known.count - 1)])
        let limit = low + (at - at.rounded(.down)) * (high - low)
        try work.give("is_error", areas.indices.map { !isThreshold[$0] && areas[$0] < limit })
      }
    ])

  static let dataMaps = Method(
    "data_maps", aliases: ["dataset_cartography"], kind: .detector, area: "noisy-labels",
    summary: "Mean and deviation over epochs of the label's probability: easy, ambiguous, and hard to learn.",
    reference: Reference(
      "Swayamdipta et al.", 2020,
      "Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics", arXiv: "2009.10795"),
    calls: [
      ArrayCall(
        "score", [logits, targets],
        gives: [
          .init("scores", "1 - confidence."), .init("confidence", "The mean probability of the label."),
          .init("variability", "Its standard deviation."),
          .init("correctness", "The share of epochs in which the label was the likeliest class."),
        ]
      ) { (work) throws(TemperError) in
        let course = try Course(work)
        var (means, deviations, shares) = ([Double](), [Double](), [Double]())
        for sample in 0..<course.samples {
          let p = (0..<course.epochs).map { course.probability($0, sample) }
          let mean = p.reduce(0, +) / Double(p.count)
          means.append(mean)
          deviations.append((p.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(p.count)).squareRoot())
          shares.append(Double((0..<course.epochs).count { course.isRight($0, sample) }) / Double(course.epochs))
        }
        try work.give("scores", means.map { 1 - $0 })
        try work.give("confidence", means)
        try work.give("variability", deviations)
        try work.give("correctness", shares)
      }
    ])

  /// A forgetting event: right in one epoch, wrong in the next.
  static let forgetting = Method(
    "forget_events", aliases: ["forgetting_events"], kind: .detector, area: "noisy-labels",
    summary: "How often a sample that was right became wrong again; one that was never right counts as all epochs.",
    reference: Reference(
      "Toneva et al.", 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning",
      arXiv: "1812.05159"),
    calls: [
      ArrayCall(
        "score", [logits, targets],
        gives: [
          .init("scores", "Forgetting events."), .init("was_learned", "Whether it was ever right."),
          .init("is_unforgettable", "Whether it was learned and never forgotten."),
        ]
      ) { (work) throws(TemperError) in
        let course = try Course(work)
        var (events, learned) = ([Double](), [Bool]())
        for sample in 0..<course.samples {
          let right = (0..<course.epochs).map { course.isRight($0, sample) }
          let lost = zip(right, right.dropFirst()).count { $0 && !$1 }
          learned.append(right.contains(true))
          events.append(learned[sample] ? Double(lost) : Double(course.epochs))
        }
        try work.give("scores", events)
        try work.give("was_learned", learned)
        try work.give("is_unforgettable", zip(events, learned).map { $0 == 0 && $1 })
      }
    ])
}

/// Logits of epochs by samples by classes.
private struct Course {
  let epochs: Int, samples: Int, classes: Int
  private let values: [Double]
  private let targets: [Int]

  init(_ work: ArrayWork) throws(TemperError) {
    let shape = try work.tensor("logits").shape
    (epochs, samples, classes) = (shape[0], shape[1], shape[2])
    guard classes > 1 else { throw TemperError(.invalidShape, "Logits of at least two classes are needed.") }
    (values, targets) = (try work.reals("logits"), try work.ids("targets"))
  }

  private func start(_ epoch: Int, _ sample: Int) -> Int { (epoch * samples + sample) * classes }

  /// z_y - max of the other z
  func margin(_ epoch: Int, _ sample: Int) -> Double {
    let start = start(epoch, sample)
    var other = -Double.infinity
    for c in 0..<classes where c != targets[sample] { other = max(other, values[start + c]) }
    return values[start + targets[sample]] - other
  }

  /// Whether the label is the likeliest class, the first of equals.
  func isRight(_ epoch: Int, _ sample: Int) -> Bool {
    let start = start(epoch, sample)
    return (0..<classes).reduce(0) { values[start + $1] > values[start + $0] ? $1 : $0 } == targets[sample]
  }

  /// softmax(z)_y
  func probability(_ epoch: Int, _ sample: Int) -> Double {
    let start = start(epoch, sample)
    let top = (0..<classes).reduce(-Double.infinity) { max($0, values[start + $1]) }
    let sum = (0..<classes).reduce(0.0) { $0 + exp(values[start + $1] - top) }
    return exp(values[start + targets[sample]] - top) / sum
  }
}
