import Glibc
import TemperCatalogue
import TemperCore

/// Wrong labels as weak annotators make them, beside simulated ones of the same confusion.
enum WeakAnnotators {
  /// Each annotator is a naive Bayes classifier (normal features, variances of all classes together) of a few samples of
  /// each class; their majority labels the data. The simulated labels are drawn by the transition matrix of that.
  static let method = Method(
    "real_label_noise_benchmark", kind: .generator, area: "data",
    summary: "Labels by weak annotators, which err where samples are hard, and simulated ones of the same confusion.",
    reference: Reference(
      "Merdjanovska et al.", 2024,
      "NoiseBench: Benchmarking the Impact of Real Label Noise on Named Entity Recognition", arXiv: "2405.07609"),
    parameters: [
      .real(
        "annotator_fraction", 0.05, in: Interval(0, 1, includesLower: false),
        "The share of samples an annotator learned from."),
      .integer("n_annotators", 3, in: 1...1000, "Annotators, whose majority counts; the lowest class of equals."),
      .real("feature_fraction", 1, in: Interval(0, 1, includesLower: false), "The share of features that one sees."),
    ],
    calls: [
      ArrayCall(
        "generate", [.x, .y],
        gives: [
          .init("y", "The annotators' labels."), .init("simulated_y", "Labels drawn by the same confusion."),
          .init("true_y", "The labels that came."), .init("is_noisy", "Where the annotators are wrong."),
          .init("oracle", "Numbers of the samples that they label right: the upper bound."),
          .init("transition", "The shares of labels j among samples of class i."),
        ]
      ) { (work) throws(TemperError) in
        let y = try work.ids("y")
        let (labels, classes) = (try Labels(y).needsTwo(), (y.max() ?? 0) + 1)
        guard classes <= 1 << 12 else { throw TemperError(.outOfRange, "Class ids must lie below \(1 << 12).") }
        try TemperError.needsRoom(for: y.count, classes, what: "The votes")
        _ = try work.reals("x")
        let x = try Matrix(try work.tensor("x")).standardized
        var votes = Matrix(zeros: y.count, classes)
        for annotator in 0..<work.integer("n_annotators") {
          var random = work.random("annotators").stream(annotator)
          let seen = random.choice(
            max(1, Int(work.real("feature_fraction") * Double(x.columns))), of: Array(0..<x.columns))
          var means: [[Double]] = [], squares = [Double](repeating: 0, count: seen.count), total = 0
          for members in labels.members {
            let count = max(1, Int((work.real("annotator_fraction") * Double(members.count)).rounded()))
            let sample = random.choice(count, of: members)
            let mean = seen.map { feature in sample.reduce(0.0) { $0 + x[$1, feature] } / Double(count) }
            for (at, feature) in seen.enumerated() {
              squares[at] += sample.reduce(0.0) { $0 + (x[$1, feature] - mean[at]) * (x[$1, feature] - mean[at]) }
            }
            means.append(mean)
            total += count
          }
          // Features have variance 1: what few samples show is drawn towards that.
          let variances = squares.map { ($0 + 1) / Double(total + 1) }
          for row in 0..<y.count {
            var best = (distance: Double.infinity, place: 0)
            for (place, mean) in means.enumerated() {
              var distance = 0.0
              for (at, feature) in seen.enumerated() {
                let difference = x[row, feature] - mean[at]
                distance += difference * difference / variances[at]
              }
              if distance < best.distance { best = (distance, place) }
            }
            votes[row, labels.classes[best.place]] += 1
          }
        }
        let given = votes.likeliest
        var counts = Matrix(zeros: classes, classes)
        for (label, vote) in zip(y, given) { counts[label, vote] += 1 }
        let transition = counts.shares
        var random = work.random("simulated")
        try work.give("y", given)
        try work.give("simulated_y", y.map { random.index(inProportionTo: Array(transition[$0])) })
        try work.give("true_y", y)
        try work.give("is_noisy", zip(given, y).map { $0 != $1 })
        try work.give("oracle", y.indices.filter { given[$0] == y[$0] })
        work.give("transition", try transition.tensor())
      }
    ])
}
