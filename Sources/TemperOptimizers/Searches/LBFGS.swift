import TemperCatalogue
import TemperCore

extension Optimizers {
  static let searches = [limitedMemoryBFGS, gradientNormalizedNewton]

  static let limitedMemoryBFGS = Method(
    "lbfgs", aliases: ["l_bfgs"], kind: .optimizer, area: "optim",
    summary: "Quasi-Newton steps from the last differences of gradients; for small problems and full batches.",
    reference: Reference("Liu and Nocedal", 1989, "On the limited memory BFGS method for large scale optimization"),
    parameters: [
      .real("learning_rate", 1, in: .nonNegative, "The first length that is tried.").named(also: "lr"),
      .integer("max_iter", 20, in: 1...1_000_000_000, "Directions in one step."),
      .integer("max_eval", 0, in: 0 ... .max, "Gradients in one step; 0: five for every four directions."),
      .real("tolerance_grad", 1e-7, in: .nonNegative, "Done when no element of the gradient is larger."),
      .real("tolerance_change", 1e-9, in: .nonNegative, "Done when loss and parameters change by less."),
      .integer("history_size", 100, in: 1...10_000, "Differences that are remembered."),
      .choice("line_search", ["strong_wolfe", "none"], "Search along the direction, or go one step of fixed length."),
    ],
    implementation: .search { x in LimitedMemoryBFGS(x) })
}

/// Directions -H g with H from the pairs s = x' - x, y = g' - g by two loops over them (Nocedal, 1980).
final class LimitedMemoryBFGS: PointSearch {
  private let maximumIterations: Int, maximumEvaluations: Int, historySize: Int
  private let gradientTolerance: Double, changeTolerance: Double
  private let searches: Bool

  private var pairs: [(s: [Double], y: [Double], rho: Double)] = []
  private var scale = 1.0
  /// Of the last iteration of the last step.
  private var direction: [Double] = [], length = 0.0, lastGradient: [Double] = []
  private var iterations = 0

  init(_ x: Arguments) {
    maximumIterations = x.integer("max_iter")
    let evaluations = x.integer("max_eval")
    maximumEvaluations = evaluations == 0 ? maximumIterations / 4 * 5 + maximumIterations % 4 * 5 / 4 : evaluations
    historySize = x.integer("history_size")
    gradientTolerance = x.real("tolerance_grad")
    changeTolerance = x.real("tolerance_change")
    searches = x.text("line_search") == "strong_wolfe"
  }

  func step(
    _ point: inout [Double], learningRate: Double,
    _ measure: (_ point: [Double], _ gradient: inout [Double]) throws(TemperError) -> Double
  ) throws(TemperError) {
    var gradient: [Double] = []
    var loss = try measure(point, &gradient)
    var evaluations = 1
    guard largest(gradient) > gradientTolerance else { return }
    for round in 1...maximumIterations {
      iterations += 1
      if iterations > 1 { remember(gradient) }
      direction = newDirection(gradient)
      lastGradient = gradient
      let before = loss
      length = iterations == 1 ? min(1, 1 / gradient.reduce(0) { $0 + abs($1) }) * learningRate : learningRate
      let slope = inner(gradient, direction)
      if slope > -changeTolerance { break }
      if searches {
        let (start, along) = (point, direction)
        let found = try LineSearch.run(
          from: length, start: LinePlace(t: 0, loss: loss, gradient: gradient, slope: slope),
          directionSize: largest(direction), changeTolerance: changeTolerance
        ) { (t) throws(TemperError) in
          var slopes: [Double] = []
          let value = try measure(zip(start, along).map { $0 + t * $1 }, &slopes)
          return LinePlace(t: t, loss: value, gradient: slopes, slope: inner(slopes, along))
        }
        (length, loss, gradient) = (found.place.t, found.place.loss, found.place.gradient)
        evaluations += found.evaluations
        move(&point)
      } else {
        move(&point)
        if round < maximumIterations {
          loss = try measure(point, &gradient)
          evaluations += 1
        }
      }
      if round == maximumIterations || evaluations >= maximumEvaluations { break }
      if largest(gradient) <= gradientTolerance { break }
      if largest(direction) * abs(length) <= changeTolerance || abs(loss - before) < changeTolerance { break }
    }
  }

  private func move(_ point: inout [Double]) {
    for i in point.indices { point[i] += length * direction[i] }
  }

  private func remember(_ gradient: [Double]) {
    let y = zip(gradient, lastGradient).map { $0 - $1 }
    let s = direction.map { length * $0 }
    let curvature = inner(y, s)
    guard curvature > 1e-10 else { return }
    if pairs.count == historySize { pairs.removeFirst() }
    pairs.append((s, y, 1 / curvature))
    scale = curvature / inner(y, y)
  }

  private func newDirection(_ gradient: [Double]) -> [Double] {
    var q = gradient.map { -$0 }
    var weights: [Double] = []
    for pair in pairs.reversed() {
      let weight = pair.rho * inner(pair.s, q)
      weights.append(weight)
      for i in q.indices { q[i] -= weight * pair.y[i] }
    }
    for i in q.indices { q[i] *= scale }
    for (pair, weight) in zip(pairs, weights.reversed()) {
      let correction = weight - pair.rho * inner(pair.y, q)
      for i in q.indices { q[i] += correction * pair.s[i] }
    }
    return q
  }

  var state: [(name: String, values: [Double])] {
    [
      ("numbers", [Double(iterations), length, scale, Double(pairs.count)]), ("direction", direction),
      ("last_gradient", lastGradient), ("s", pairs.flatMap(\.s)), ("y", pairs.flatMap(\.y)),
    ]
  }

  func load(_ state: [(name: String, values: [Double])]) throws(TemperError) {
    let given = Dictionary(state.map { ($0.name, $0.values) }) { $1 }
    let wrong = TemperError(.invalidArgument, "This is no state of lbfgs for these parameters.")
    guard let numbers = given["numbers"], numbers.count == 4, let direction = given["direction"],
      let last = given["last_gradient"], let s = given["s"], let y = given["y"], state.count == 5,
      let iterations = Int(exactly: numbers[0]), let count = Int(exactly: numbers[3]), count >= 0,
      count <= historySize, direction.count == last.count, s.count == y.count, s.count == count * direction.count
    else { throw wrong }
    var pairs: [(s: [Double], y: [Double], rho: Double)] = []
    for index in 0..<count {
      let range = index * direction.count..<(index + 1) * direction.count
      let pair = (s: Array(s[range]), y: Array(y[range]))
      pairs.append((pair.s, pair.y, 1 / inner(pair.y, pair.s)))
    }
    (self.iterations, length, scale, self.pairs) = (iterations, numbers[1], numbers[2], pairs)
    (self.direction, lastGradient) = (direction, last)
  }
}

func inner(_ a: [Double], _ b: [Double]) -> Double {
  var sum = 0.0
  for i in a.indices { sum += a[i] * b[i] }
  return sum
}

func largest(_ x: [Double]) -> Double { x.reduce(0) { max($0, abs($1)) } }
