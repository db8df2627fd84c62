import TemperCore

/// The nearest points of each query, nearest first; of points at one distance, the lower number first.
package struct Neighbours: Sendable {
  package let count: Int
  /// For each query `count` numbers of points.
  package let ids: [Int32]
  /// Euclidean.
  package let distances: [Double]

  /// The numbers of one query's points.
  package subscript(_ query: Int) -> ArraySlice<Int32> { ids[(query * count)..<((query + 1) * count)] }

  /// The `count` nearest of `points`, by Euclidean distance, exactly. `isSame`: the queries are the points, and no point
  /// is its own neighbour. `count` is at most the number of (other) points.
  package init(
    of queries: Matrix, among points: Matrix, count: Int, isSame: Bool = false, workers: Workers
  ) throws(TemperError) {
    let others = points.rows - (isSame ? 1 : 0)
    guard count >= 1, count <= others else {
      throw TemperError(
        .outOfRange, "\(count) neighbours were asked for, and there are \(others) points to choose from; lower k.")
    }
    // The squared distance |q|^2 - 2 q p + |p|^2 loses digits where points are near: some more than needed are taken by
    // it, and the differences decide among them.
    let spare = Swift.min(8, points.rows - count)
    let candidates = try NearestSearch(points, count: count + spare).run(queries, workers: workers)
    var ids = [Int32](repeating: 0, count: queries.rows * count)
    var distances = [Double](repeating: 0, count: queries.rows * count)
    let width = count + spare
    var found: [(square: Double, id: Int32)] = []
    for query in 0..<queries.rows {
      found.removeAll(keepingCapacity: true)
      for id in candidates[(query * width)..<((query + 1) * width)] where !(isSame && Int(id) == query) {
        guard id >= 0 else {
          throw TemperError(.outOfRange, "The numbers are too large for distances between rows; scale them down.")
        }
        found.append((Neighbours.square(queries, query, points, Int(id)), id))
      }
      found.sort { ($0.square, $0.id) < ($1.square, $1.id) }
      for place in 0..<count {
        ids[query * count + place] = found[place].id
        distances[query * count + place] = found[place].square.squareRoot()
      }
    }
    (self.count, self.ids, self.distances) = (count, ids, distances)
  }

  /// |a_i - b_j|^2
  private static func square(_ a: Matrix, _ i: Int, _ b: Matrix, _ j: Int) -> Double {
    var sum = 0.0
    let (from, to) = (i * a.columns, j * b.columns)
    for column in 0..<a.columns {
      let difference = a.values[from + column] - b.values[to + column]
      sum += difference * difference
    }
    return sum
  }
}
