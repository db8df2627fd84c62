/// Products of matrices that are small, or computed once: dense, row after row, in double precision. Every sum runs
/// from its first term to its last. Large ones are MatrixProduct's.
package enum SmallMatrices {
  /// A (rows, inner) times B (inner, columns).
  package static func product(_ a: [Double], _ b: [Double], _ rows: Int, _ inner: Int, _ columns: Int) -> [Double] {
    precondition(a.count == rows * inner && b.count == inner * columns)
    var result = [Double](repeating: 0, count: rows * columns)
    for i in 0..<rows {
      for k in 0..<inner {
        let value = a[i * inner + k]
        for j in 0..<columns { result[i * columns + j] += value * b[k * columns + j] }
      }
    }
    return result
  }

  package static func transposed(_ a: [Double], _ rows: Int, _ columns: Int) -> [Double] {
    precondition(a.count == rows * columns)
    return (0..<(rows * columns)).map { a[$0 % rows * columns + $0 / rows] }
  }
}
