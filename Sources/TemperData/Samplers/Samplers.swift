import Glibc
import TemperCatalogue
import TemperCore

/// The samplers of the catalogue, and the calls that they are made of.
enum Samplers {
  static let all: [Method] =
    [randomOversampler, randomUndersampler, classBalanced, progressivelyBalanced] + Interpolation.all + Cleaning.all
    + Selection.all

  /// A sampler that takes samples as they are, some several times and some not at all: its choice of numbers, which it
  /// resamples by, tells shuffled, and whose chances are the weights.
  static func choosing(
    _ choose: @escaping @Sendable (ArrayWork, Labels) throws(TemperError) -> [Int],
    weights: @escaping @Sendable (ArrayWork, Labels) throws(TemperError) -> [Double], with more: [Input] = []
  ) -> [ArrayCall] {
    [
      ArrayCall("resample", [.x, .y] + more, gives: resampled) { (work) throws(TemperError) in
        let labels = Labels(try work.ids("y"))
        try work.giveRows(try choose(work, labels))
      },
      ArrayCall("indices", [.y] + more, gives: [.init("indices", "Numbers of samples, shuffled.")]) {
        (work) throws(TemperError) in
        let labels = Labels(try work.ids("y"))
        let chosen = try choose(work, labels)
        var random = work.random("order")
        try work.give("indices", random.permutation(chosen.count).map { chosen[$0] })
      },
      ArrayCall("weights", [.y] + more, gives: [.init("weights", "The chance of each sample.")]) {
        (work) throws(TemperError) in
        let labels = Labels(try work.ids("y"))
        let weights = try weights(work, labels)
        let whole = weights.reduce(0, +)
        try work.give("weights", weights.map { $0 / whole })
      },
    ]
  }

  static let resampled: [ArrayCall.Result] = [
    .init("x", "The samples."), .init("y", "Their class ids."), .init("indices", "The sample that each comes from."),
  ]

  static let targetRatio = Parameter.real(
    "target_ratio", 1, in: .unit, "How far sizes go from what they are (0) to the goal (1).")

  static let randomOversampler = Method(
    "random_oversampler", kind: .sampler, area: "imbalance",
    summary: "Samples of small classes are repeated at random until every class has the size of the largest one.",
    reference: Reference(
      "Buda, Maki and Mazurowski", 2018,
      "A systematic study of the class imbalance problem in convolutional neural networks", arXiv: "1710.05381"),
    parameters: [
      targetRatio,
      .boolean("replacement", true, "Draw with replacement; without, a class is repeated whole as often as it fits."),
    ],
    calls: choosing { (work, labels) throws(TemperError) in
      let goals = labels.goals(work.real("target_ratio"), labels.largest)
      try TemperError.needsRoom(for: goals.reduce(0, +), what: "The samples")
      return labels.classes.indices.reduce(into: Array(0..<labels.count)) { chosen, at in
        var random = work.random("oversampling").stream(labels.classes[at])
        let members = labels.members[at]
        var missing = goals[at] - members.count
        if work.boolean("replacement") {
          for _ in 0..<missing { chosen.append(members[random.below(members.count)]) }
        } else {
          while missing > 0 {
            let drawn = random.choice(missing, of: members)
            chosen += drawn
            missing -= drawn.count
          }
        }
      }
    } weights: { (work, labels) throws(TemperError) in
      let goals = labels.goals(work.real("target_ratio"), labels.largest)
      return labels.places.map { Double(goals[$0]) / Double(labels.members[$0].count) }
    })

  static let randomUndersampler = Method(
    "random_undersampler", kind: .sampler, area: "imbalance",
    summary: "Samples of large classes are dropped at random until every class has the size of the smallest one.",
    reference: Reference(
      "Buda, Maki and Mazurowski", 2018,
      "A systematic study of the class imbalance problem in convolutional neural networks", arXiv: "1710.05381"),
    parameters: [targetRatio],
    calls: choosing { (work, labels) throws(TemperError) in
      let goals = labels.goals(work.real("target_ratio"), labels.smallest)
      var chosen: [Int] = []
      for at in labels.classes.indices {
        var random = work.random("undersampling").stream(labels.classes[at])
        chosen += random.choice(goals[at], of: labels.members[at])
      }
      return chosen.sorted()
    } weights: { (work, labels) throws(TemperError) in
      let goals = labels.goals(work.real("target_ratio"), labels.smallest)
      return labels.places.map { Double(goals[$0]) / Double(labels.members[$0].count) }
    })

  /// P(class k) ~ n_k^q: q = 1 as the samples are, 1/2 square-root sampling, 0 all classes alike.
  static let classBalanced = Method(
    "class_balanced_sampler", kind: .sampler, area: "imbalance",
    summary: "A class is drawn first, all alike, and then one of its samples.",
    reference: Reference(
      "Kang et al.", 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition",
      arXiv: "1910.09217"),
    parameters: [
      .real("q", 0, in: .unit, "Classes are drawn in proportion to size^q: 0 all alike, 1 samples all alike."), count,
    ],
    calls: choosing { (work, labels) throws(TemperError) in
      let weights = classWeights(labels, power: work.real("q"))
      return try draw(work, labels, weights)
    } weights: { (work, labels) throws(TemperError) in
      classWeights(labels, power: work.real("q"))
    })

  /// P(class k) = (1 - t) n_k / N + t / K over the training's course t from 0 to 1.
  static let progressivelyBalanced = Method(
    "progressively_balanced_sampler", aliases: ["progressively_balanced"], kind: .sampler, area: "imbalance",
    summary: "From samples all alike to classes all alike in the course of training.",
    reference: Reference(
      "Kang et al.", 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition",
      arXiv: "1910.09217"),
    parameters: [count],
    calls: choosing(
      { (work, labels) throws(TemperError) in try draw(work, labels, try progressed(work, labels)) },
      weights: { (work, labels) throws(TemperError) in try progressed(work, labels) },
      with: [Input("progress", [.init([])], "The share of training that is done, 0 to 1.")]))

  private static func progressed(_ work: ArrayWork, _ labels: Labels) throws(TemperError) -> [Double] {
    let t = try work.number("progress")
    guard (0...1).contains(t) else {
      throw TemperError(.outOfRange, "progress is 0 at the start and 1 at the end; \(t) came.")
    }
    let alike = 1 / Double(labels.count)
    return zip(classWeights(labels, power: 0), labels.places).map { weight, _ in (1 - t) * alike + t * weight }
  }

  /// n_k^(q - 1), of sum 1.
  private static func classWeights(_ labels: Labels, power: Double) -> [Double] {
    let weights = labels.sizes.map { pow(Double($0), power - 1) }
    let whole = zip(weights, labels.sizes).reduce(0) { $0 + $1.0 * Double($1.1) }
    return labels.places.map { weights[$0] / whole }
  }

  static let count = Parameter.integer("count", 0, in: 0...(1 << 28), "How many to draw; 0: as many as there are.")

  private static func draw(_ work: ArrayWork, _ labels: Labels, _ weights: [Double]) throws(TemperError) -> [Int] {
    var random = work.random("draws")
    let count = work.integer("count")
    return random.indices(count == 0 ? labels.count : count, inProportionTo: weights)
  }
}

extension Labels {
  /// Sizes on the way from those that are to `goal`.
  func goals(_ ratio: Double, _ goal: Int) -> [Int] {
    sizes.map { $0 + Int((ratio * Double(goal - $0)).rounded()) }
  }
}

extension ArrayWork {
  /// x, y and indices of a choice of samples.
  func giveRows(_ chosen: [Int]) throws(TemperError) {
    guard !chosen.isEmpty else { throw TemperError(.outOfRange, "No sample would be left.") }
    give("x", try tensor("x").rows(chosen))
    give("y", try tensor("y").rows(chosen))
    try give("indices", chosen)
  }
}
