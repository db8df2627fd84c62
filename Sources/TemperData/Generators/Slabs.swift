import TemperCatalogue
import TemperCore

/// Features of graded simplicity that all tell the class: one of a single threshold, others of slabs.
enum Slabs {
  /// linear: y (margin + (1 - margin) u), u ~ U(0, 1); with probability noise_p any number in [-1, 1]. k slabs: k
  /// intervals along [-1, 1] with gaps of `margin` between them, of the classes in turn; +1 has the middle one where
  /// (k - 1) / 2 is even.
  static let method = Method(
    "simplicity_bias_slabs", kind: .generator, area: "data",
    summary: "Features that tell the class by one threshold beside others that need several.",
    reference: Reference(
      "Shah et al.", 2020, "The Pitfalls of Simplicity Bias in Neural Networks", arXiv: "2006.07710"),
    parameters: [
      .integer("n", 50_000, in: 1...(1 << 26), "Samples."), .integer("d", 50, in: 1...(1 << 16), "Features."),
      .integer("k", 5, in: 3...101, "Slabs of the complex features, an odd number."),
      .choice(
        "form", ["lms", "noisy_lms", "ms"],
        "The first feature: linear; linear with noise; five slabs (the others then have k, 7 say)."),
      .real("margin", 0.1, in: .belowOne, "The gap between the classes along a feature."),
      .real("noise_p", 0.1, in: .unit, "noisy_lms: how often the first feature tells nothing."),
      .integer("noise_features", 0, in: 0...(1 << 16), "Features at the end that tell nothing."),
      .boolean("rotate", false, "Turn all features by one random rotation."),
    ],
    calls: [
      ArrayCall(
        "generate", [],
        gives: [
          .init("x", "Samples by features."), .init("y", "Class ids, 0 and 1."),
          .init("rotation", "Where features are turned: x = features rotation."),
        ]
      ) { (work) throws(TemperError) in
        let (n, d, k) = (work.integer("n"), work.integer("d"), work.integer("k"))
        guard k % 2 == 1 else { throw TemperError(.outOfRange, "k must be odd; \(k) came.") }
        let telling = d - work.integer("noise_features")
        guard telling >= 1 else { throw TemperError(.outOfRange, "Of \(d) features at least one must tell something.") }
        let (margin, form) = (work.real("margin"), work.text("form"))
        try TemperError.needsRoom(for: n, d, what: "The samples")
        if work.boolean("rotate") { try TemperError.needsRoom(for: d, d, what: "The rotation") }
        var random = work.random("slabs")
        var (x, y) = (Matrix(zeros: n, d), [Int]())
        for row in 0..<n {
          let isPositive = random.below(2) == 1
          y.append(isPositive ? 1 : 0)
          for feature in 0..<d {
            if feature >= telling {
              x[row, feature] = 2 * random.uniform() - 1
            } else if feature > 0 || form == "ms" {
              x[row, feature] = slab(feature == 0 ? 5 : k, isPositive, margin, &random)
            } else if form == "noisy_lms", random.uniform() < work.real("noise_p") {
              x[row, feature] = 2 * random.uniform() - 1
            } else {
              x[row, feature] = (isPositive ? 1 : -1) * (margin + (1 - margin) * random.uniform())
            }
          }
        }
        if work.boolean("rotate") {
          let turn = rotation(d, &random)
          let turned = try Tensor(zeros: [n, d], .float64)
          try MatrixProduct.run(try x.tensor(), try turn.tensor(), into: turned, workers: work.workers)
          work.give("x", turned)
          try work.give("y", y)
          work.give("rotation", try turn.tensor())
        } else {
          work.give("x", try x.tensor())
          try work.give("y", y)
        }
      }
    ])

  private static func slab(_ k: Int, _ isPositive: Bool, _ margin: Double, _ random: inout Random) -> Double {
    // Slabs 0, 2, 4, … are of class 0, which has one more.
    let own = isPositive ? random.below(k / 2) * 2 + 1 : random.below(k / 2 + 1) * 2
    let width = (2 - margin * Double(k - 1)) / Double(k)
    // With many slabs the gaps shrink so that they fit.
    let (slab, gap) = width > 0 ? (width, margin) : (1 / Double(k), 1 / Double(k))
    return -1 + Double(own) * (slab + gap) + slab * random.uniform()
  }

  /// Rows of normal numbers made orthonormal in order (Gram and Schmidt, twice).
  private static func rotation(_ d: Int, _ random: inout Random) -> Matrix {
    var rows = Matrix((0..<(d * d)).map { _ in random.normal() }, rows: d, columns: d)
    for row in 0..<d {
      for _ in 0..<2 {
        for before in 0..<row {
          let along = zip(rows[row], rows[before]).reduce(0) { $0 + $1.0 * $1.1 }
          for column in 0..<d { rows[row, column] -= along * rows[before, column] }
        }
      }
      let length = rows[row].reduce(0) { $0 + $1 * $1 }.squareRoot()
      for column in 0..<d { rows[row, column] /= length }
    }
    return rows
  }
}
