import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// How well noise can be known, and how much of the classes' order it leaves.
enum NoiseMetrics {
  static let all: [Method] = [expectedError, signalStrength]

  /// Fixed: sum_i (1 - sum_j M_ij²) / n_i. Variable, of n pairs: P(n_i > 0) E[1 / n_i | n_i > 0] in place of 1 / n_i, and
  /// with probability P(n_i = 0) the error of a uniform row.
  static let expectedError = Method(
    "noise_matrix_expected_error", kind: .metric, area: "noisy-labels",
    summary: "The expected squared error of a transition matrix that was counted from clean and noisy pairs.",
    reference: Reference(
      "Hedderich, Zhu and Klakow", 2021, "Analysing the Noise Model Error for Realistic Noisy Label Data",
      arXiv: "2101.09763"),
    parameters: [
      .choice("sampling", ["fixed", "variable"], "Pairs of each class are a fixed number; or all pairs together are.")
    ],
    inputs: [
      Input("transition", [.init(["C", "C"])], isDifferentiable: false, "P(noisy j | clean i)."),
      Input("class_counts", [.init(["C"])], isOptional: true, isDifferentiable: false, "fixed: pairs of each class."),
      Input(
        "class_priors", [.init(["C"])], isOptional: true, isDifferentiable: false, "variable: shares of the classes."),
      Input("count", [.init([])], isOptional: true, isDifferentiable: false, "variable: pairs in all."),
    ],
    check: { (inputs, arguments) throws(TemperError) in
      let needed = arguments.text("sampling") == "fixed" ? ["class_counts"] : ["class_priors", "count"]
      for name in needed where inputs[name] == nil {
        throw TemperError(.invalidArgument, "With sampling \(arguments.text("sampling")) it needs \(name).")
      }
      if let counts = try inputs["class_counts"]?.array(of: Double.self), !counts.allSatisfy({ $0 >= 1 }) {
        throw TemperError(.outOfRange, "class_counts must be 1 or more.")
      }
      if let count = try inputs["count"]?.array(of: Double.self)[0], !(count >= 1 && count <= 1e9) {
        throw TemperError(.outOfRange, "count must be 1 to 1e9; \(count) came.")
      }
      if let priors = try inputs["class_priors"]?.array(of: Double.self), !priors.allSatisfy({ $0 > 0 && $0 <= 1 }) {
        throw TemperError(.outOfRange, "class_priors must lie above 0 and be at most 1.")
      }
    },
    implementation: .operation { x in
      let isFixed = x.text("sampling") == "fixed"
      let others = isFixed ? [x["class_counts"]] : [x["class_priors"], x["count"]]
      let operation = CustomOperation(name: "noise_matrix_expected_error") { (inputs, result, _) throws(TemperError) in
        let (m, k) = (try inputs[0].array(of: Double.self), inputs[0].shape[0])
        let sizes = try inputs[1].array(of: Double.self)
        var sum = 0.0
        for i in 0..<k {
          let row = m[(i * k)..<((i + 1) * k)]
          let spread = 1 - row.reduce(0) { $0 + $1 * $1 }
          if isFixed {
            sum += spread / sizes[i]
          } else {
            let n = try inputs[2].array(of: Double.self)[0]
            let (share, none) = inverseCount(n, sizes[i])
            let far = row.reduce(0) { $0 + ($1 - 1 / Double(k)) * ($1 - 1 / Double(k)) }
            sum += share * spread + none * far
          }
        }
        try result.fill(sum)
      }
      return .custom(operation, [x["transition"]] + others, shape: [])
    })

  /// E[1 / m; m > 0] and P(m = 0) for m of Binomial(n, p): a sum over the terms that count.
  private static func inverseCount(_ n: Double, _ p: Double) -> (share: Double, none: Double) {
    if p >= 1 { return (1 / n, 0) }
    let none = exp(n * log1p(-p))
    let (mean, deviation) = (n * p, (n * p * (1 - p)).squareRoot())
    let (low, high) = (max(1, (mean - 12 * deviation - 12).rounded(.down)), min(n, mean + 12 * deviation + 40))
    var (sum, m) = (0.0, low)
    while m <= high {
      let chance = exp(
        lgamma(n + 1) - lgamma(m + 1) - lgamma(n - m + 1) + m * log(p) + (n - m) * log1p(-p))
      sum += chance / m
      m += 1
    }
    return (sum, none)
  }

  /// min over j of (max noisy - noisy_j) / (max clean - clean_j); what is 0 / 0 or has a clean maximum below a larger
  /// noisy one counts as infinite.
  static let signalStrength = Method(
    "relative_signal_strength", kind: .metric, area: "noisy-labels",
    summary: "How much of the lead of the likeliest class is left under label noise, for each sample.",
    reference: Reference("Zhu et al.", 2024, "Label Noise: Ignorance Is Bliss", arXiv: "2411.00079"),
    inputs: [
      Input("clean", [.init(["N", "C"])], isDifferentiable: false, "Probabilities of true classes."),
      Input("noisy", [.init(["N", "C"])], isDifferentiable: false, "Probabilities of given labels."),
    ],
    implementation: .operation { x in
      let operation = CustomOperation(name: "relative_signal_strength") { (inputs, result, _) throws(TemperError) in
        let (clean, noisy) = (try inputs[0].array(of: Double.self), try inputs[1].array(of: Double.self))
        let (n, k) = (inputs[0].shape[0], inputs[0].shape[1])
        var values: [Double] = []
        for row in 0..<n {
          let (own, given) = (clean[(row * k)..<((row + 1) * k)], noisy[(row * k)..<((row + 1) * k)])
          let (top, topGiven) = (own.max() ?? 0, given.max() ?? 0)
          values.append(
            zip(own, given).reduce(Double.infinity) { least, pair in
              let (lead, left) = (top - pair.0, topGiven - pair.1)
              return lead > 0 ? min(least, left / lead) : least
            })
        }
        try result.assign(from: try Tensor(values, shape: result.shape))
      }
      return .custom(operation, [x["clean"], x["noisy"]], shape: [x["clean"].shape[0]])
    })
}
