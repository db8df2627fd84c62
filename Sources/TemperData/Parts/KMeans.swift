import Glibc
import TemperCore

/// Centres to which points belong: k-means with the start of Arthur and Vassilvitskii (2007), of which the best of
/// several candidates is taken at each step, and Lloyd's iterations.
package struct KMeans: Sendable {
  package let centres: Matrix
  /// The centre of each point.
  package let assignment: [Int]
  /// The sum of squared distances to the centres.
  package let inertia: Double
  package let iterations: Int

  package init(
    _ points: Matrix, clusters: Int, restarts: Int = 10, iterations: Int = 300, tolerance: Double = 1e-4,
    random: Random, workers: Workers
  ) throws(TemperError) {
    guard clusters >= 1, clusters <= points.rows else {
      throw TemperError(.outOfRange, "\(clusters) clusters were asked for, and there are \(points.rows) points.")
    }
    let means = points.means
    let spread = points.deviations(from: means).reduce(0) { $0 + $1 * $1 } / Double(Swift.max(points.columns, 1))
    var best: KMeans?
    for restart in 0..<Swift.max(restarts, 1) {
      var random = random.stream(restart)
      let start = KMeans.start(points, clusters, &random)
      let fit = try KMeans(points, from: start, iterations: iterations, stop: tolerance * spread, workers: workers)
      if best.map({ fit.inertia < $0.inertia }) ?? true { best = fit }
    }
    guard let best else { throw TemperError(.internalFault, "k-means made no fit.") }
    self = best
  }

  /// Lloyd's iterations until the centres move by no more than `stop` in all (sum of squares).
  package init(
    _ points: Matrix, from start: Matrix, iterations: Int, stop: Double, workers: Workers
  ) throws(TemperError) {
    var centres = start
    var near = points.nearest(of: centres, workers: workers)
    var done = 0
    while done < Swift.max(iterations, 1) {
      done += 1
      guard near.squares.allSatisfy(\.isFinite) else {
        throw TemperError(.outOfRange, "The numbers are too large for distances between rows; scale them down.")
      }
      var sums = points.sums(by: near.ids, count: centres.rows)
      var sizes = [Double](repeating: 0, count: centres.rows)
      for id in near.ids { sizes[Int(id)] += 1 }
      // Centres without points go to the points that are farthest from theirs.
      var far: ArraySlice<Int> = []
      if sizes.contains(0) {
        far = ascendingOrder(near.squares.map { -$0 })[...]
      }
      var moved = 0.0
      for centre in 0..<centres.rows {
        if sizes[centre] == 0, let point = far.popFirst() {
          for column in 0..<points.columns { sums[centre, column] = points[point, column] }
          sizes[centre] = 1
        }
        for column in 0..<points.columns {
          let place = sums[centre, column] / sizes[centre]
          moved += (place - centres[centre, column]) * (place - centres[centre, column])
          centres[centre, column] = place
        }
      }
      near = points.nearest(of: centres, workers: workers)
      if moved <= stop { break }
    }
    self.centres = centres
    assignment = near.ids.map { Int($0) }
    inertia = near.squares.reduce(0, +)
    self.iterations = done
  }

  /// Each centre is drawn in proportion to squared distances from those before: the best of 2 + log(clusters) draws.
  private static func start(_ points: Matrix, _ clusters: Int, _ random: inout Random) -> Matrix {
    var chosen = [random.below(points.rows)]
    var squares = points.squares([Double](repeating: .infinity, count: points.rows), orTo: chosen[0])
    let trials = 2 + Int(log(Double(clusters)))
    while chosen.count < clusters {
      var best: (point: Int, squares: [Double], sum: Double)?
      for _ in 0..<trials {
        let point = random.index(inProportionTo: squares)
        let next = points.squares(squares, orTo: point)
        let sum = next.reduce(0, +)
        if best.map({ sum < $0.sum }) ?? true { best = (point, next, sum) }
      }
      guard let best else { break }
      chosen.append(best.point)
      squares = best.squares
    }
    return points.rows(chosen)
  }
}
