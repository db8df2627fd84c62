import TemperKernels
import Testing

/// Loops over samples by features, beside sums element by element.
@Suite struct SamplesTests {
  @Test(arguments: [(1, 1, 1), (7, 3, 5), (40, 17, 64), (33, 8, 65), (100, 130, 3)])
  func sumsAndDistances(shape: (rows: Int, columns: Int, centres: Int)) {
    var numbers = Numbers(shape.rows * shape.columns)
    let (rows, columns, count) = (shape.rows, shape.columns, shape.centres)
    let x = (0..<rows * columns).map { _ in numbers.between(-1, 1) }
    let centres = (0..<count * columns).map { _ in numbers.between(-1, 1) }
    func square(_ row: Int, _ point: [Double], _ at: Int) -> Double {
      (0..<columns).reduce(0.0) {
        let difference = x[row * columns + $1] - point[at * columns + $1]
        return $0 + difference * difference
      }
    }
    func near(_ a: [Double], _ b: [Double]) -> Bool { zip(a, b).allSatisfy { abs($0 - $1) < 1e-12 * Double(rows) } }

    var sums = [Double](repeating: 9, count: columns)
    temper_column_sums(x, Int64(rows), Int64(columns), &sums)
    #expect(near(sums, (0..<columns).map { c in (0..<rows).reduce(0.0) { $0 + x[$1 * columns + c] } }))
    temper_column_squares(x, centres, Int64(rows), Int64(columns), &sums)
    #expect(
      near(
        sums,
        (0..<columns).map { c in
          (0..<rows).reduce(0.0) { $0 + (x[$1 * columns + c] - centres[c]) * (x[$1 * columns + c] - centres[c]) }
        }))
    var shifted = x
    temper_rows_shift(&shifted, centres, Int64(rows), Int64(columns))
    #expect(shifted == x.indices.map { x[$0] - centres[$0 % columns] })

    let all = (0..<rows).map { row in (0..<count).map { square(row, centres, $0) } }
    var lower = (0..<rows).map { $0 % 2 == 0 ? Double.infinity : 0 }
    temper_squares_lower(&lower, x, centres, Int64(rows), Int64(columns))
    #expect(near(lower, (0..<rows).map { $0 % 2 == 0 ? all[$0][0] : 0 }))

    let byColumn = (0..<columns).flatMap { c in (0..<count).map { centres[$0 * columns + c] } }
    var (ids, squares) = ([Int32](repeating: -1, count: rows), [Double](repeating: -1, count: rows))
    temper_nearest_centre(&ids, &squares, x, byColumn, Int64(rows), Int64(columns), Int64(count))
    for row in 0..<rows {
      let least = all[row].min() ?? 0
      #expect(abs(squares[row] - least) < 1e-12 && all[row][Int(ids[row])] <= least + 1e-12)
    }
    var byId = [Double](repeating: 0, count: count * columns)
    temper_sums_by_id(&byId, x, ids, Int64(rows), Int64(columns))
    var expected = [Double](repeating: 0, count: count * columns)
    for at in x.indices { expected[Int(ids[at / columns]) * columns + at % columns] += x[at] }
    #expect(near(byId, expected))
  }

  /// Of centres in one place the first is taken; without a number for a distance there is none.
  @Test func firstOfEquals() {
    var (ids, squares) = ([Int32](repeating: -1, count: 2), [Double](repeating: 0, count: 2))
    temper_nearest_centre(&ids, &squares, [1, .nan], [4, 2, 2, 0], 2, 1, 4)
    #expect(ids == [1, 0] && squares == [1, .infinity])
  }
}
