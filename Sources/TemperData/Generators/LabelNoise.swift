import Glibc
import TemperCatalogue
import TemperCore

/// Wrong labels by a transition matrix T, T[i, j] = P(given j | true i), with the true labels kept aside.
enum LabelNoise {
  static let all: [Method] = [symmetric, pair, asymmetric, instanceDependent, openSet]

  static let rate = Parameter.real("rate", 0.4, in: .unit, "The share of samples whose label is drawn wrong.")

  private static let classCount = Input(
    "num_classes", [.init([], .index(below: nil))], isOptional: true, isSize: true,
    "How many classes there are; without it as many as the largest id says.")

  static let results: [ArrayCall.Result] = [
    .init("y", "The labels to train with."), .init("true_y", "The labels that came."),
    .init("is_noisy", "Where the two differ."), .init("transition", "P(given j | true i), by which was drawn."),
  ]

  static let symmetric = byMatrix(
    "symmetric_noise", "A label becomes any of the others, all alike.",
    Reference(
      "Patrini et al.", 2017,
      "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", arXiv: "1609.03683")
  ) { rate, classes in
    Matrix.transition(classes) { i, j in i == j ? 1 - rate : rate / Double(classes - 1) }
  }

  static let pair = byMatrix(
    "pair_noise", "A label becomes the next class, the last one the first.",
    Reference(
      "Han et al.", 2018,
      "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels", arXiv: "1804.06872")
  ) { rate, classes in
    Matrix.transition(classes) { i, j in i == j ? 1 - rate : j == (i + 1) % classes ? rate : 0 }
  }

  static let asymmetric = Method(
    "asymmetric_noise", aliases: ["transition_noise"], kind: .generator, area: "noisy-labels",
    summary: "Labels are drawn by a transition matrix.",
    reference: Reference(
      "Patrini et al.", 2017,
      "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", arXiv: "1609.03683"),
    calls: [
      ArrayCall(
        "generate",
        [
          Input("y", aliases: ["targets"], [.init(["N"], .index(below: "C"))], "Class ids."),
          Input("transition", [.init(["C", "C"])], "P(given j | true i); rows sum to 1."),
        ], gives: results
      ) { (work) throws(TemperError) in
        let transition = Matrix(
          try work.reals("transition"), rows: try work.tensor("transition").shape[0],
          columns: try work.tensor("transition").shape[1])
        try transition.checkDistributions("transition")
        try work.giveNoise(try work.ids("y"), transition)
      }
    ])

  private static func byMatrix(
    _ name: String, _ summary: String, _ reference: Reference,
    _ transition: @escaping @Sendable (_ rate: Double, _ classes: Int) -> Matrix
  ) -> Method {
    Method(
      name, aliases: [name + "_labels"], kind: .generator, area: "noisy-labels", summary: summary,
      reference: reference, parameters: [rate],
      calls: [
        ArrayCall("generate", [.y, classCount], gives: results) { (work) throws(TemperError) in
          let (y, classes) = try work.labels()
          try work.giveNoise(y, transition(work.real("rate"), classes))
        }
      ])
  }

  /// Xia et al.: each sample has a flip rate of its own, q ~ N(rate, 0.1) inside [0, 1], and goes to another class with
  /// the chances softmax(x W_y) over the others, W random: what looks alike errs alike.
  static let instanceDependent = Method(
    "instance_dependent_noise", kind: .generator, area: "noisy-labels",
    summary: "Whether and to which class a label errs depends on the sample.",
    reference: Reference(
      "Xia et al.", 2020, "Part-dependent Label Noise: Towards Instance-dependent Label Noise", arXiv: "2006.07836"),
    parameters: [
      rate, .real("deviation", 0.1, in: .nonNegative, "Of the samples' own rates about it."),
    ],
    calls: [
      ArrayCall(
        "generate", [.x, .y, classCount],
        gives: Array(results.prefix(3)) + [
          .init("transition", "The shares of given labels j among those of true label i."),
          .init("rates", "The chance of each sample to get a wrong label."),
        ]
      ) { (work) throws(TemperError) in
        let (y, classes) = try work.labels()
        _ = try work.reals("x")
        let x = try Matrix(try work.tensor("x")).standardized
        try TemperError.needsRoom(for: classes, classes, x.columns, what: "The map from features to classes")
        var random = work.random("instances")
        // W[true class][feature][class]
        let weights = (0..<(classes * x.columns * classes)).map { _ in random.normal() }
        let scale = 1 / Double(Swift.max(x.columns, 1)).squareRoot()
        var (noisy, rates) = (y, [Double](repeating: 0, count: y.count))
        for sample in y.indices {
          var own = -1.0
          while own < 0 || own > 1 {
            own = work.real("rate") + work.real("deviation") * random.normal()
            if work.real("deviation") == 0 { break }
          }
          rates[sample] = own
          var scores = [Double](repeating: 0, count: classes)
          for feature in 0..<x.columns {
            let from = (y[sample] * x.columns + feature) * classes
            let value = x[sample, feature] * scale
            for c in 0..<classes { scores[c] += value * weights[from + c] }
          }
          let top = scores.max() ?? 0
          var chances = scores.map { exp($0 - top) }
          chances[y[sample]] = 0
          let drawn = random.uniform()
          if drawn < own { noisy[sample] = random.index(inProportionTo: chances) }
        }
        var counts = Matrix(zeros: classes, classes)
        for (true_, given) in zip(y, noisy) { counts[true_, given] += 1 }
        try work.giveLabels(noisy, y, counts.shares)
        try work.give("rates", rates)
      }
    ])

  /// The inputs of some samples are replaced by what belongs to no class, under the label that they had.
  static let openSet = Method(
    "open_set_noise", kind: .generator, area: "noisy-labels",
    summary: "Some samples become inputs that belong to no class, under the labels that they had.",
    reference: Reference(
      "Wang et al.", 2018, "Iterative Learning with Open-set Noisy Labels", arXiv: "1804.00092"),
    parameters: [rate],
    calls: [
      ArrayCall(
        "generate",
        [
          .x, .y,
          Input(
            "outside", [.init(["M", "..."])], isOptional: true,
            "Samples of no class, drawn from with replacement; without them features are shuffled among the samples."),
        ],
        gives: [
          .init("x", "The samples to train with."), .init("y", "The labels, as they came."),
          .init("is_noisy", "Which samples belong to no class."),
          .init("source", "The sample outside that each comes from; -1 where there is none."),
        ]
      ) { (work) throws(TemperError) in
        let (y, x) = (try work.ids("y"), try work.tensor("x"))
        var random = work.random("open_set")
        let chosen = random.choice(Int((work.real("rate") * Double(y.count)).rounded()), of: Array(y.indices)).sorted()
        var source = [Int](repeating: -1, count: y.count)
        let result: Tensor
        if work.has("outside") {
          let outside = try work.tensor("outside")
          for sample in chosen { source[sample] = random.below(outside.shape[0]) }
          let both = try x.followed(by: outside)
          result = try both.rows(y.indices.map { source[$0] < 0 ? $0 : x.shape[0] + source[$0] })
        } else {
          var values = try Matrix(x)
          let clean = values
          for sample in chosen {
            for feature in 0..<values.columns { values[sample, feature] = clean[random.below(y.count), feature] }
          }
          result = try Tensor(values.values, shape: x.shape).copy(as: x.dtype)
        }
        work.give("x", result)
        try work.give("y", y)
        try work.give("is_noisy", flags(chosen, y.count))
        try work.give("source", source)
      }
    ])

  static func flags(_ chosen: [Int], _ count: Int) -> [Bool] {
    var flags = [Bool](repeating: false, count: count)
    for sample in chosen { flags[sample] = true }
    return flags
  }
}

extension Matrix {
  static func transition(_ classes: Int, _ entry: (Int, Int) -> Double) -> Matrix {
    Matrix((0..<(classes * classes)).map { entry($0 / classes, $0 % classes) }, rows: classes, columns: classes)
  }

  /// Rows divided by their sums; a row of zeros becomes that of the identity.
  package var shares: Matrix {
    var result = self
    for row in 0..<rows {
      let sum = self[row].reduce(0, +)
      for column in 0..<columns {
        result[row, column] = sum > 0 ? self[row, column] / sum : row == column ? 1 : 0
      }
    }
    return result
  }

  /// Every row must be a distribution.
  package func checkDistributions(_ name: String) throws(TemperError) {
    for row in 0..<rows {
      let sum = self[row].reduce(0, +)
      guard self[row].allSatisfy({ $0 >= 0 }), abs(sum - 1) < 1e-4 else {
        throw TemperError(
          .outOfRange, "The rows of \(name) are probabilities that sum to 1; row \(row) sums to \(sum).")
      }
    }
  }
}

extension ArrayWork {
  /// y and the number of classes, at least 2.
  func labels() throws(TemperError) -> (ids: [Int], classes: Int) {
    let y = try ids("y")
    let largest = (y.max() ?? 0) + 1
    let classes = has("num_classes") ? try ids("num_classes")[0] : largest
    guard classes >= largest, classes >= 2, classes <= 1 << 12 else {
      throw TemperError(
        .outOfRange,
        "There must be 2 to \(1 << 12) classes and y must lie below their number; num_classes is \(classes), the largest id \(largest - 1)."
      )
    }
    return (y, classes)
  }

  /// Labels drawn by the rows of a transition matrix, sample by sample.
  func giveNoise(_ y: [Int], _ transition: Matrix) throws(TemperError) {
    var random = random("labels")
    let noisy = y.map { random.index(inProportionTo: Array(transition[$0])) }
    try giveLabels(noisy, y, transition)
  }

  func giveLabels(_ noisy: [Int], _ y: [Int], _ transition: Matrix) throws(TemperError) {
    try give("y", noisy)
    try give("true_y", y)
    try give("is_noisy", zip(noisy, y).map { $0 != $1 })
    give("transition", try transition.tensor())
  }
}
