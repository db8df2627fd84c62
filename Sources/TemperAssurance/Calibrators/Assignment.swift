import TemperData

/// The assignment of rows to columns with the largest sum (Kuhn and Munkres; shortest augmenting paths, O(n³)).
enum Assignment {
  /// For each column its row, of a square matrix.
  static func largest(_ gains: Matrix) -> [Int] {
    let n = gains.rows
    // Rows and columns count from 1; 0 stands for none.
    var (u, v) = ([Double](repeating: 0, count: n + 1), [Double](repeating: 0, count: n + 1))
    var row = [Int](repeating: 0, count: n + 1)
    for i in 1...n {
      var column = 0
      row[0] = i
      var least = [Double](repeating: .infinity, count: n + 1)
      var before = [Int](repeating: 0, count: n + 1)
      var used = [Bool](repeating: false, count: n + 1)
      repeat {
        used[column] = true
        var (delta, next) = (Double.infinity, 0)
        for j in 1...n where !used[j] {
          let cost = -gains[row[column] - 1, j - 1] - u[row[column]] - v[j]
          if cost < least[j] { (least[j], before[j]) = (cost, column) }
          if least[j] < delta { (delta, next) = (least[j], j) }
        }
        for j in 0...n {
          if used[j] {
            u[row[j]] += delta
            v[j] -= delta
          } else {
            least[j] -= delta
          }
        }
        column = next
      } while row[column] != 0
      repeat {
        row[column] = row[before[column]]
        column = before[column]
      } while column != 0
    }
    return (1...n).map { row[$0] - 1 }
  }
}
