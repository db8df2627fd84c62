import TemperCatalogue
import TemperCore

/// How samples lie among each other: detectors of what lies apart, over the parts that other methods share.
enum Structure {
  static let all: [Method] = [nearestNeighbours, localOutlierFactor, kMeans, principalComponents]

  private static let x = Input("x", [.init(["N", "D"])], "Samples by features.")
  private static let kept = Input("points", [.init(["M", "D"])], "The samples of the fit.")
  private static let scores = ArrayCall.Result("scores", "Larger for what lies further apart.")

  static let nearestNeighbours = Method(
    "nearest_neighbours", aliases: ["k_nearest_neighbours"], kind: .detector, area: "data",
    summary: "A sample is as abnormal as its k-th nearest neighbour is far; the search is exact.",
    reference: Reference(
      "Ramaswamy, Rastogi and Shim", 2000, "Efficient Algorithms for Mining Outliers from Large Data Sets"),
    parameters: [.integer("k", 5, in: 1...(1 << 20), "Which neighbour.")], keeps: [kept],
    calls: [
      ArrayCall("fit", [x]) { (work) throws(TemperError) in
        _ = try work.reals("x")
        work.keep("points", try work.tensor("x").copy(as: .float64))
      },
      ArrayCall(
        "score", [Input("x", x.forms, isOptional: true, "Samples by features; without them those of the fit.")],
        gives: [
          scores, .init("neighbours", "Numbers of the k nearest samples of the fit, nearest first."),
          .init("distances", "How far they are."),
        ], state: .required
      ) { (work) throws(TemperError) in
        let points = try Matrix(try work.tensor("points"))
        let isSame = !work.has("x")
        if !isSame { _ = try work.reals("x") }
        let queries = isSame ? points : try Matrix(try work.tensor("x"))
        let k = work.integer("k")
        let found = try Neighbours(of: queries, among: points, count: k, isSame: isSame, workers: work.workers)
        try work.give("scores", (0..<queries.rows).map { found.distances[$0 * k + k - 1] })
        work.give("neighbours", try Tensor(found.ids.map { Int64($0) }, shape: [queries.rows, k]))
        try work.give("distances", found.distances, [queries.rows, k])
      },
    ])

  static let localOutlierFactor = Method(
    "local_outlier_factor", aliases: ["lof"], kind: .detector, area: "data",
    summary: "A sample is as abnormal as it lies more sparsely than its neighbours do: about 1 inside a cloud.",
    reference: Reference("Breunig et al.", 2000, "LOF: Identifying Density-Based Local Outliers"),
    parameters: [.integer("k", 20, in: 1...(1 << 20), "Neighbours; fewer where there are fewer samples.")],
    calls: [
      ArrayCall("score", [x], gives: [scores]) { (work) throws(TemperError) in
        _ = try work.reals("x")
        try work.give(
          "scores",
          try Matrix(try work.tensor("x")).localOutlierFactors(neighbours: work.integer("k"), workers: work.workers))
      }
    ])

  static let kMeans = Method(
    "k_means", kind: .detector, area: "data",
    summary: "Clusters about k centres; a sample is as abnormal as its centre is far.",
    reference: Reference("Arthur and Vassilvitskii", 2007, "k-means++: The Advantages of Careful Seeding"),
    parameters: [
      .integer("k", 8, in: 1...(1 << 20), "How many centres.").named(also: "clusters"),
      .integer("restarts", 10, in: 1...10_000, "Starts, of which the best counts."),
      .integer("iterations", 300, in: 1...1_000_000, "At most, for each."),
      .real("tolerance", 1e-4, in: .nonNegative, "Centres that move less, relative to the variance, are at rest."),
      .integer("seed", 0, in: 0 ... .max, "Where the starts come from; 0: the context's."),
    ],
    keeps: [
      Input("centres", [.init(["K", "D"])], "The centres."),
      Input("inertia", [.init([])], "The sum of squared distances of the fit's samples to them."),
    ],
    calls: [
      ArrayCall("fit", [x]) { (work) throws(TemperError) in
        let points = Matrix(
          try work.reals("x"), rows: try work.tensor("x").shape[0], columns: try work.tensor("x").shape[1])
        let fit = try KMeans(
          points, clusters: work.integer("k"), restarts: work.integer("restarts"),
          iterations: work.integer("iterations"), tolerance: work.real("tolerance"),
          random: work.random("k_means", seed: "seed"), workers: work.workers)
        work.keep("centres", try fit.centres.tensor())
        try work.keep("inertia", [fit.inertia], [])
      },
      ArrayCall(
        "score", [x], gives: [scores, .init("assignments", "The nearest centre of each sample.")], state: .required
      ) { (work) throws(TemperError) in
        _ = try work.reals("x")
        let near = try Neighbours(
          of: try Matrix(try work.tensor("x")), among: try Matrix(try work.tensor("centres")), count: 1,
          workers: work.workers)
        try work.give("scores", near.distances)
        try work.give("assignments", near.ids.map { Int($0) })
      },
    ])

  static let principalComponents = Method(
    "principal_components", aliases: ["pca"], kind: .detector, area: "data",
    summary: "The directions of largest variance; a sample is as abnormal as it is far from their span.",
    reference: Reference("Jackson and Mudholkar", 1979, "Control Procedures for Residuals Associated with PCA"),
    parameters: [.integer("components", 2, in: 1...(1 << 20), "How many directions.")],
    keeps: [
      Input("mean", [.init(["D"])], "Of the fit's samples."),
      Input("components", [.init(["K", "D"])], "Orthonormal rows, largest variance first."),
      Input("variances", [.init(["K"])], "Along each."),
    ],
    calls: [
      ArrayCall("fit", [x]) { (work) throws(TemperError) in
        _ = try work.reals("x")
        let fit = try PrincipalComponents(
          try Matrix(try work.tensor("x")), count: work.integer("components"), workers: work.workers)
        try work.keep("mean", fit.means)
        work.keep("components", try fit.components.tensor())
        try work.keep("variances", fit.variances)
      },
      ArrayCall(
        "score", [x], gives: [scores, .init("coordinates", "Of each sample along the components.")], state: .required
      ) { (work) throws(TemperError) in
        _ = try work.reals("x")
        let rows = try Matrix(try work.tensor("x"))
        let fit = PrincipalComponents(
          means: try work.reals("mean"), components: try Matrix(try work.tensor("components")),
          variances: try work.reals("variances"))
        let coordinates = try fit.project(rows, workers: work.workers)
        // |x - m|^2 less what the components explain.
        try work.give(
          "scores",
          (0..<rows.rows).map { row in
            let whole = zip(rows[row], fit.means).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            return Swift.max(whole - coordinates[row].reduce(0) { $0 + $1 * $1 }, 0).squareRoot()
          })
        work.give("coordinates", try coordinates.tensor())
      },
    ])
}
