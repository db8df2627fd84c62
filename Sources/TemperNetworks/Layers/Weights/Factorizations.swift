/// Dense matrices in float64 on the host, for constraints on small weights.
struct HostMatrix: Sendable {
  let rows: Int, columns: Int
  /// Row by row.
  var elements: [Double]

  init(_ rows: Int, _ columns: Int, _ elements: [Double]) {
    (self.rows, self.columns, self.elements) = (rows, columns, elements)
  }

  private func column(_ j: Int) -> [Double] { (0..<rows).map { elements[$0 * columns + j] } }

  /// The orthonormal factor Q of A = Q R with a positive diagonal of R, by Gram and Schmidt, each column projected twice.
  /// A column in the span of those before it becomes a unit vector orthogonal to them.
  var orthonormalized: HostMatrix {
    var basis: [[Double]] = []
    for j in 0..<columns {
      var candidate = column(j)
      var next = 0
      while true {
        let before = HostMatrix.norm(candidate)
        for _ in 0..<2 {
          for other in basis {
            let overlap = HostMatrix.dot(other, candidate)
            for i in 0..<rows { candidate[i] -= overlap * other[i] }
          }
        }
        let norm = HostMatrix.norm(candidate)
        if norm > 1e-10 * before || next >= rows {
          basis.append(norm > 0 ? candidate.map { $0 / norm } : candidate)
          break
        }
        candidate = [Double](repeating: 0, count: rows)
        candidate[next] = 1
        next += 1
      }
    }
    var result = HostMatrix(rows, columns, [Double](repeating: 0, count: rows * columns))
    for j in 0..<columns { for i in 0..<rows { result.elements[i * columns + j] = basis[j][i] } }
    return result
  }

  /// Singular values and A = P diag(s) R^T by Jacobi's rotations of columns (Hestenes, 1958); rows >= columns. The
  /// columns of `left` are P's times s.
  func singularValues() -> (values: [Double], left: HostMatrix, right: HostMatrix) {
    var (a, v) = ((0..<columns).map(column), (0..<columns).map { j in (0..<columns).map { $0 == j ? 1.0 : 0 } })
    for _ in 0..<60 {
      var isDone = true
      for p in 0..<columns {
        for q in (p + 1)..<max(columns, p + 1) {
          let (alpha, beta, gamma) = (
            HostMatrix.dot(a[p], a[p]), HostMatrix.dot(a[q], a[q]), HostMatrix.dot(a[p], a[q])
          )
          if abs(gamma) <= 1e-15 * (alpha * beta).squareRoot() { continue }
          isDone = false
          let zeta = (beta - alpha) / (2 * gamma)
          let t = (zeta >= 0 ? 1.0 : -1) / (abs(zeta) + (1 + zeta * zeta).squareRoot())
          let c = 1 / (1 + t * t).squareRoot()
          HostMatrix.rotate(&a, p, q, c, c * t)
          HostMatrix.rotate(&v, p, q, c, c * t)
        }
      }
      if isDone { break }
    }
    func matrix(_ vectors: [[Double]], _ rows: Int) -> HostMatrix {
      HostMatrix(rows, columns, (0..<rows).flatMap { i in vectors.map { $0[i] } })
    }
    return (a.map(HostMatrix.norm), matrix(a, rows), matrix(v, columns))
  }

  private static func rotate(_ vectors: inout [[Double]], _ p: Int, _ q: Int, _ c: Double, _ s: Double) {
    for i in vectors[p].indices {
      let (x, y) = (vectors[p][i], vectors[q][i])
      vectors[p][i] = c * x - s * y
      vectors[q][i] = s * x + c * y
    }
  }

  private static func dot(_ a: [Double], _ b: [Double]) -> Double {
    var sum = 0.0
    for i in a.indices { sum += a[i] * b[i] }
    return sum
  }

  private static func norm(_ a: [Double]) -> Double { dot(a, a).squareRoot() }
}
