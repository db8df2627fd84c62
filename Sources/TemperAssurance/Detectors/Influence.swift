import TemperCatalogue
import TemperCore
import TemperData

/// TracIn: what a training sample did to a test sample's loss, from gradients at checkpoints.
enum Influence {
  /// influence(i, m) = sum over checkpoints t of eta_t g_ti · h_tm; self-influence: sum of eta_t |g_ti|².
  static let method = Method(
    "tracin_influence", aliases: ["tracin"], kind: .detector, area: "noisy-labels",
    summary: "The influence of each training sample on others, or on itself, by the products of gradients.",
    reference: Reference(
      "Pruthi et al.", 2020, "Estimating Training Data Influence by Tracing Gradient Descent", arXiv: "2002.08484"),
    calls: [
      ArrayCall(
        "score",
        [
          Input("gradients", [.init(["T", "N", "P"])], "Of the training samples' losses, at each checkpoint."),
          Input("learning_rates", [.init(["T"])], isOptional: true, "At the checkpoints; 1 without."),
          Input(
            "test_gradients", [.init(["T", "M", "P"])], isOptional: true,
            "Of other samples' losses; without them each sample's influence on itself is told."),
        ],
        gives: [
          .init("scores", "Self-influence; or minus the mean influence, larger for what harms the others."),
          .init("influence", "With test_gradients: of each training sample on each other sample (N, M)."),
        ]
      ) { (work) throws(TemperError) in
        let (gradients, shape) = (try work.tensor("gradients"), try work.tensor("gradients").shape)
        _ = try work.reals("gradients")
        let rates =
          work.has("learning_rates") ? try work.reals("learning_rates") : [Double](repeating: 1, count: shape[0])
        guard work.has("test_gradients") else {
          var scores = [Double](repeating: 0, count: shape[1])
          for checkpoint in 0..<shape[0] {
            let own = try Matrix(try gradients.slice(checkpoint..<(checkpoint + 1)).reshaped([shape[1], shape[2]]))
            for sample in scores.indices {
              scores[sample] += rates[checkpoint] * own[sample].reduce(0) { $0 + $1 * $1 }
            }
          }
          return try work.give("scores", scores)
        }
        _ = try work.reals("test_gradients")
        let tests = try work.tensor("test_gradients")
        let influence = try Tensor(zeros: [shape[1], tests.shape[1]], .float64)
        for checkpoint in 0..<shape[0] {
          let range = checkpoint..<(checkpoint + 1)
          let own = try gradients.slice(range).reshaped([shape[1], shape[2]]).copy(as: .float64)
          var other = try Matrix(try tests.slice(range).reshaped([tests.shape[1], shape[2]]))
          for at in other.values.indices { other.values[at] *= rates[checkpoint] }
          try MatrixProduct.run(
            own, try other.tensor().permuted([1, 0]), into: influence, accumulate: checkpoint > 0, workers: work.workers
          )
        }
        let table = try Matrix(influence)
        try work.give("scores", (0..<table.rows).map { -table[$0].reduce(0, +) / Double(table.columns) })
        work.give("influence", influence)
      }
    ])
}
