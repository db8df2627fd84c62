import Testing

import TemperCatalogue
import TemperCore

@testable import TemperData

/// Every distance, sorted: the definition.
private func nearest(_ queries: Matrix, _ points: Matrix, _ count: Int, isSame: Bool) -> [[Int32]] {
  (0..<queries.rows).map { query in
    let all = (0..<points.rows).filter { !(isSame && $0 == query) }.map { point in
      (zip(queries[query], points[point]).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }, Int32(point))
    }
    return all.sorted { ($0.0, $0.1) < ($1.0, $1.1) }.prefix(count).map(\.1)
  }
}

@Suite struct NeighbourTests {
  /// Block borders, few points, many neighbours, and data far from 0, where the formula for blocks loses its digits.
  @Test(arguments: [
    (1, 1, 1, 1, 0.0), (3, 5, 2, 5, 0), (65, 513, 3, 4, 0), (64, 512, 7, 1, 0), (130, 700, 2, 20, 1e6),
    (20, 40, 16, 39, -1e4),
  ])
  func againstTheDefinition(queries: Int, points n: Int, width: Int, count: Int, offset: Double) throws {
    func moved(_ matrix: Matrix) -> Matrix {
      Matrix(matrix.values.map { $0 + offset }, rows: matrix.rows, columns: matrix.columns)
    }
    let (a, b) = (moved(points(queries, width)), moved(points(n, width, seed: 2)))
    for threads in [1, 3] {
      let workers = Workers(count: threads)
      let found = try Neighbours(of: a, among: b, count: count, workers: workers)
      #expect((0..<queries).map { Array(found[$0]) } == nearest(a, b, count, isSame: false))
      if n > count {
        let own = try Neighbours(of: b, among: b, count: count, isSame: true, workers: workers)
        #expect((0..<n).map { Array(own[$0]) } == nearest(b, b, count, isSame: true))
      }
    }
  }

  @Test func equalPointsComeByNumber() throws {
    let same = Matrix(zeros: 6, 2)
    let found = try Neighbours(of: same, among: same, count: 3, isSame: true, workers: Workers(count: 1))
    #expect(Array(found[0]) == [1, 2, 3] && Array(found[2]) == [0, 1, 3] && found.distances.allSatisfy { $0 == 0 })
  }

  @Test func whatCannotBe() {
    let workers = Workers(count: 1)
    #expect(throws: TemperError.self) {
      try Neighbours(of: points(3, 2), among: points(3, 2), count: 3, isSame: true, workers: workers)
    }
    #expect(throws: TemperError.self) {
      try Neighbours(of: points(3, 2, scale: 1e200), among: points(9, 2, scale: 1e200), count: 1, workers: workers)
    }
  }
}
