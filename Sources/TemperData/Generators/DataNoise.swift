import Glibc
import TemperCatalogue
import TemperCore

/// Data made worse in its features, its sizes of classes, or by diluting it.
enum DataNoise {
  static let all: [Method] = [featureNoise, outliers, longTail, diluted]

  static let featureNoise = Method(
    "feature_noise", kind: .generator, area: "noisy-labels",
    summary: "Features of some samples get normal noise, or are lost.",
    reference: Reference("Zhu and Wu", 2004, "Class Noise vs. Attribute Noise: A Quantitative Study"),
    parameters: [
      .real("rate", 0.4, in: .unit, "The share of samples that are touched."),
      .real("scale", 1, in: .nonNegative, "Of the noise, in deviations of each feature."),
      .choice(
        "form", ["gaussian", "missing", "permuted"], "Noise is added; features become their mean; or another sample's."),
      .real("features", 1, in: .unit, "The share of features that are touched in such a sample."),
    ],
    calls: [
      ArrayCall(
        "generate", [.x],
        gives: [
          .init("x", "The samples to train with."), .init("true_x", "The samples that came."),
          .init("is_noisy", "Which samples were touched."),
        ]
      ) { (work) throws(TemperError) in
        _ = try work.reals("x")
        let (given, clean) = (try work.tensor("x"), try Matrix(try work.tensor("x")))
        var (random, noisy) = (work.random("features"), clean)
        let (means, deviations) = (clean.means, clean.deviations(from: clean.means))
        let chosen = random.choice(Int((work.real("rate") * Double(clean.rows)).rounded()), of: Array(0..<clean.rows))
        for sample in chosen.sorted() {
          let count = Int((work.real("features") * Double(clean.columns)).rounded())
          for feature in random.choice(count, of: Array(0..<clean.columns)) {
            switch work.text("form") {
            case "missing": noisy[sample, feature] = means[feature]
            case "permuted": noisy[sample, feature] = clean[random.below(clean.rows), feature]
            default: noisy[sample, feature] += work.real("scale") * deviations[feature] * random.normal()
            }
          }
        }
        work.give("x", try noisy.like(given))
        work.give("true_x", try given.copy())
        try work.give("is_noisy", LabelNoise.flags(chosen, clean.rows))
      }
    ])

  static let outliers = Method(
    "outliers", kind: .generator, area: "noisy-labels",
    summary: "Some samples are moved far away from the others, or their targets are.",
    reference: Reference("Huber", 1964, "Robust Estimation of a Location Parameter"),
    parameters: [
      .real("rate", 0.1, in: .unit, "The share of samples that are moved."),
      .real("distance", 10, in: .nonNegative, "How far, in deviations."),
    ],
    calls: [
      ArrayCall(
        "generate",
        [
          .x,
          Input(
            "y", aliases: ["targets"], [.init(["N"])], isOptional: true, "Targets of a regression, moved in place of x."
          ),
        ],
        gives: [
          .init("x", "The samples to train with."), .init("y", "Their targets, where targets came."),
          .init("is_noisy", "Which samples were moved."),
        ]
      ) { (work) throws(TemperError) in
        _ = try work.reals("x")
        let given = try work.tensor(work.has("y") ? "y" : "x")
        if work.has("y") { _ = try work.reals("y") }
        var moved = try Matrix(given)
        var random = work.random("outliers")
        let deviations = moved.deviations(from: moved.means)
        let chosen = random.choice(Int((work.real("rate") * Double(moved.rows)).rounded()), of: Array(0..<moved.rows))
        for sample in chosen.sorted() {
          // A direction, all alike.
          let direction = (0..<moved.columns).map { _ in random.normal() }
          let length = max(direction.reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-300)
          for column in 0..<moved.columns {
            moved[sample, column] +=
              work.real("distance") * deviations[column] * direction[column] / length
              * Double(moved.columns).squareRoot()
          }
        }
        work.give("x", work.has("y") ? try work.tensor("x").copy() : try moved.like(given))
        if work.has("y") { work.give("y", try moved.like(given)) }
        try work.give("is_noisy", LabelNoise.flags(chosen, moved.rows))
      }
    ])

  /// exponential: n_k = n_max rho^(-k / (K - 1)); step: a share mu of the classes has n_max / rho; linear in between.
  static let longTail = Method(
    "long_tail", aliases: ["class_imbalance"], kind: .generator, area: "imbalance",
    summary: "Classes thinned to a long tail, a step or a line of sizes.",
    reference: Reference(
      "Cui et al.", 2019, "Class-Balanced Loss Based on Effective Number of Samples", arXiv: "1901.05555"),
    parameters: [
      .real("rho", 50, in: Interval(1, .infinity), "The largest size by the smallest.").named(also: "ratio"),
      .choice("form", ["exponential", "step", "linear"], "How sizes fall with the class."),
      .real("mu", 0.5, in: .unit, "step: the share of classes that are small."),
      .boolean("reversed", false, "The first classes are small in place of the last."),
    ],
    calls: [
      ArrayCall(
        "generate", [.x, .y],
        gives: [
          .init("x", "The samples left."), .init("y", "Their class ids."),
          .init("indices", "Their numbers, ascending."),
          .init("counts", "The wanted size of each class, in ascending order of its id."),
        ]
      ) { (work) throws(TemperError) in
        let labels = try Labels(try work.ids("y")).needsTwo()
        let (classes, rho) = (labels.classes.count, work.real("rho"))
        let small = Int((work.real("mu") * Double(classes)).rounded())
        var chosen: [Int] = [], counts: [Int] = []
        for at in 0..<classes {
          let rank = work.boolean("reversed") ? classes - 1 - at : at
          let along = Double(rank) / Double(classes - 1)
          let share =
            switch work.text("form") {
            case "step": rank >= classes - small ? 1 / rho : 1
            case "linear": 1 - along * (1 - 1 / rho)
            default: pow(rho, -along)
            }
          let count = min(max(Int((Double(labels.largest) * share).rounded()), 1), labels.members[at].count)
          var random = work.random("long_tail").stream(labels.classes[at])
          counts.append(count)
          chosen += random.choice(count, of: labels.members[at])
        }
        try work.giveRows(chosen.sorted())
        try work.give("counts", counts)
      }
    ])

  /// Every clean pair once, and alpha more copies of each input with labels drawn for them. With probability delta a label
  /// is a confusing one, by the rows of `confusion`; else any of the classes, all alike.
  static let diluted = Method(
    "diluted_label_noise", kind: .generator, area: "noisy-labels",
    summary: "Every sample with its label once, and alpha copies of it with random labels.",
    reference: Reference(
      "Rolnick et al.", 2017, "Deep Learning is Robust to Massive Label Noise", arXiv: "1705.10694"),
    parameters: [
      .integer("alpha", 10, in: 0...10_000, "Copies with random labels for each sample."),
      .choice(
        "pattern", ["uniform", "biased", "structured"], "biased: labels by confusion; structured: of other inputs."),
      .real("delta", 0.5, in: .unit, "biased: the share of labels drawn by confusion."),
    ],
    calls: [
      ArrayCall(
        "generate",
        [
          .x,
          Input(
            "y", aliases: ["targets"], [.init(["N"], .index(below: "C")), .init(["N"], .index(below: nil))],
            "Class ids."),
          Input("confusion", [.init(["C", "C"])], isOptional: true, "biased: what is taken for what; rows sum to 1."),
          Input("others", [.init(["M", "..."])], isOptional: true, "structured: inputs that copies are taken from."),
        ],
        gives: [
          .init("x", "The samples to train with, the clean ones first."), .init("y", "Their labels."),
          .init("indices", "The sample (or other input) that each comes from."),
          .init("is_clean", "Which pairs are the clean ones."),
        ]
      ) { (work) throws(TemperError) in
        let (x, y) = (try work.tensor("x"), try work.ids("y"))
        let (alpha, classes) = (work.integer("alpha"), (y.max() ?? 0) + 1)
        let pattern = work.text("pattern")
        guard pattern != "biased" || work.has("confusion"), pattern != "structured" || work.has("others") else {
          throw TemperError(
            .invalidArgument, "The pattern \(pattern) needs \(pattern == "biased" ? "confusion" : "others").")
        }
        let confusion =
          pattern == "biased"
          ? Matrix(
            try work.reals("confusion"), rows: try work.tensor("confusion").shape[0],
            columns: try work.tensor("confusion").shape[1]) : nil
        if let confusion {
          try confusion.checkDistributions("confusion")
          guard confusion.rows >= classes else {
            throw TemperError(.outOfRange, "confusion has \(confusion.rows) rows, and y goes up to \(classes - 1).")
          }
        }
        try TemperError.needsRoom(for: y.count, alpha + 1, max(1, x.count / y.count), what: "The samples")
        var random = work.random("dilution")
        var (from, labels) = (Array(y.indices), y)
        let pool = pattern == "structured" ? try work.tensor("others").shape[0] : y.count
        for sample in y.indices {
          for _ in 0..<alpha {
            from.append(pattern == "structured" ? random.below(pool) : sample)
            if let confusion, random.uniform() < work.real("delta") {
              labels.append(random.index(inProportionTo: Array(confusion[y[sample]])))
            } else {
              labels.append(random.below(confusion?.rows ?? classes))
            }
          }
        }
        if pattern == "structured" {
          let both = try x.followed(by: try work.tensor("others"))
          work.give("x", try both.rows(from.enumerated().map { $0 < y.count ? $1 : y.count + $1 }))
        } else {
          work.give("x", try x.rows(from))
        }
        try work.give("y", labels)
        try work.give("indices", from)
        try work.give("is_clean", from.indices.map { $0 < y.count })
      }
    ])
}

extension Matrix {
  /// These numbers under the shape, and if it is a floating one the type, of a tensor.
  func like(_ tensor: Tensor) throws(TemperError) -> Tensor {
    let result = try Tensor(values, shape: tensor.shape)
    return tensor.dtype == .float32 ? try result.copy(as: .float32) : result
  }
}
