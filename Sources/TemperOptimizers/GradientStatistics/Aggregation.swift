import TemperCatalogue
import TemperCore
import TemperGraph

extension GradientStatistics {
  private static let gradients = Input(
    "gradients", [.init(["N", "P"])], "A gradient for each sample, batch or worker.")
  private static let medians = Reference(
    title: "SGD with Clipping is Secretly Estimating the Median Gradient", arXiv: "2402.12828")

  /// The median of each component; the mean of the middle two for an even number.
  static let coordinateMedian = Method(
    "coordinate_median", aliases: ["componentwise_median"], kind: .op, area: "optim",
    summary: "The median of several gradients, component by component.", reference: medians, inputs: [gradients],
    implementation: .operation { x in componentMedian(x["gradients"]) })

  /// (N, P) to (P,).
  private static func componentMedian(_ g: Expression) -> Expression {
    let (count, size) = (g.shape[0], g.shape[1])
    let sorted = g.transposed.sorted()
    func place(_ k: Int) -> Expression { sorted.slice(k..<(k + 1), axis: 1) }
    return (0.5 * (place((count - 1) / 2) + place(count / 2))).reshaped([size])
  }

  /// argmin_m sum |g_i - m| by Weiszfeld's iteration m <- sum w_i g_i / sum w_i, w_i = 1 / max(|g_i - m|, eps), from the
  /// component-wise median.
  static let geometricMedian = Method(
    "geometric_median", kind: .op, area: "optim",
    summary: "The point with the least sum of distances to several gradients.", reference: medians,
    parameters: [
      .integer("weiszfeld_iters", 20, in: 1...1000, "Iterations.").named(also: "iterations"),
      .real("eps", 1e-12, in: .positive, "The least distance."),
    ],
    inputs: [gradients],
    implementation: .operation { x in
      let g = x["gradients"]
      var m = componentMedian(g).expanded(0)
      for _ in 0..<x.integer("weiszfeld_iters") {
        let squares = square(g - m).sum()
        let isZero = squares .== 0
        // The root has no slope at 0, where m is one of the points.
        let distance = Expression.select(isZero, .constant(0), sqrt(.select(isZero, .constant(1), squares)))
        let weights = reciprocal(maximum(distance, x.real("eps")))
        m = Expression.matmul(weights, g, transposeA: true) / weights.sumAll()
      }
      return m.squeezed(0)
    })

  /// The index alpha of a tail P(|x| > t) ~ t^-alpha. hill: 1 / alpha = mean over the k largest of log(|x| / x_k+1).
  /// moment: M_1 + 1 - 1 / (2 (1 - M_1^2 / M_2)), M_j the mean of those logarithms to the power j. pickands:
  /// log((x_k - x_2k) / (x_2k - x_4k)) / log 2. stable: (mean log |sum of m| - mean log |x|) / log m over blocks of m.
  static let tailIndex = Method(
    "heavy_tail_index", aliases: ["tail_index", "hill_estimator"], kind: .metric, area: "optim",
    summary: "How heavy the tail of gradient noise is: below 2 it has no variance, at most 1 no mean.",
    reference: Reference(
      "Simsekli, Sagun, Gurbuzbalaban", 2019,
      "A Tail-Index Analysis of Stochastic Gradient Noise in Deep Neural Networks",
      arXiv: "1901.06053"),
    parameters: [
      .choice("method", ["hill", "moment", "pickands", "stable"], "The estimator."),
      .real(
        "fraction", 0.05, in: Interval(0, 1, includesLower: false, includesUpper: false),
        "Share of the numbers that are the tail: k of them, at least 2."),
      .integer("block", 0, in: 0...(1 << 40), "Size of a block of the stable estimator; 0: the root of their number."),
    ],
    inputs: [Input("x", [.init(["N"])], "Numbers: norms of gradients, or components of gradient noise.")],
    check: { (inputs, _) throws(TemperError) in
      if (inputs["x"]?.count ?? 0) < 8 { throw TemperError(.invalidShape, "A tail needs at least 8 numbers.") }
    },
    implementation: .operation { x in
      let count = x["x"].shape.count
      let numbers = x["x"].reshaped([count])
      let size = abs(numbers)
      func place(_ sorted: Expression, _ k: Int) -> Expression { sorted.slice((k - 1)..<k) }
      let k = min(max(Int(x.real("fraction") * Double(count)), 2), count - 1)
      switch x.text("method") {
      case "stable":
        var block = x.integer("block")
        if block == 0 {
          block = 2
          while (block + 1) * (block + 1) <= count { block += 1 }
        }
        guard block >= 2, block <= count / 2 else {
          return .invalid(.outOfRange, "A block has from 2 to half of the \(count) numbers; \(block) came.")
        }
        let blocks = count / block
        let used = numbers.slice(0..<(blocks * block))
        let sums = used.reshaped([blocks, block]).sum()
        let inverse = (log(abs(sums)).meanAll() - log(abs(used)).meanAll()) / log(Expression.constant(Double(block)))
        return reciprocal(inverse)
      case "pickands":
        let quarter = max(min(k, count / 4), 1)
        let sorted = size.sorted(descending: true)
        let (a, b, c) = (place(sorted, quarter), place(sorted, 2 * quarter), place(sorted, 4 * quarter))
        return (log(Expression.constant(2)) / log((a - b) / (b - c))).reshaped([])
      default:
        let sorted = size.sorted(descending: true)
        let excess = log(sorted.slice(0..<k) / place(sorted, k + 1))
        let first = excess.meanAll()
        if x.text("method") == "hill" { return reciprocal(first) }
        let second = square(excess).meanAll()
        return reciprocal(first + 1 - 0.5 / (1 - square(first) / second))
      }
    })
}
