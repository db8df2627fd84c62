import Glibc
import TemperKernels
import Testing

@Suite struct SymmetricEigenTests {
  /// M^T M for a matrix of numbers that look random, with `rank` rows.
  private func moment(_ n: Int, rank: Int) -> [Double] {
    var rows: [[Double]] = []
    for k in 0..<rank { rows.append((0..<n).map { sin(Double(7 * k * k + 3 * $0 + k * $0 + 1)) }) }
    var a = [Double](repeating: 0, count: n * n)
    for i in 0..<n { for j in 0..<n { for row in rows { a[i * n + j] += row[i] * row[j] } } }
    return a
  }

  @Test(arguments: [(1, 1), (5, 5), (12, 12), (12, 4), (40, 40), (7, 0)])
  func eigenvectorsPutTheMatrixTogether(_ n: Int, _ rank: Int) {
    let a = moment(n, rank: rank)
    var used = a
    var (vectors, values) = ([Double](repeating: 0, count: n * n), [Double](repeating: 0, count: n))
    temper_symmetric_eigen(&used, &vectors, &values, Int64(n))
    let size = max(values.max() ?? 0, 1)
    var worst = 0.0
    for i in 0..<n {
      for j in 0..<n {
        var (whole, product) = (0.0, 0.0)
        for k in 0..<n {
          whole += vectors[k * n + i] * values[k] * vectors[k * n + j]
          product += vectors[i * n + k] * vectors[j * n + k]
        }
        worst = max(worst, abs(whole - a[i * n + j]) / size, abs(product - (i == j ? 1 : 0)))
      }
    }
    #expect(worst < 1e-13)
    #expect(values.filter { $0 > 1e-10 * size }.count == min(n, rank))
  }

  @Test(arguments: [(1, 1), (6, 6), (9, 3), (8, 0)])
  func rowsBecomeOrthonormalInOrder(_ n: Int, _ rank: Int) {
    let rows = moment(n, rank: rank)
    var basis = rows
    temper_orthonormal_rows(&basis, Int64(n), 1e-10)
    for i in 0..<n {
      for j in 0...i {
        let product = (0..<n).reduce(0.0) { $0 + basis[i * n + $1] * basis[j * n + $1] }
        #expect(abs(product - (i == j ? 1 : 0)) < 1e-12)
      }
    }
    // Each row of a full matrix lies in the span of the first ones.
    guard rank == n else { return }
    for i in 0..<n {
      for j in i + 1..<max(n, i + 1) {
        #expect(abs((0..<n).reduce(0.0) { $0 + rows[i * n + $1] * basis[j * n + $1] }) < 1e-8)
      }
    }
  }

  @Test func whatIsNotFiniteStays() {
    var rows = [1, Double.nan, 0, 1]
    temper_orthonormal_rows(&rows, 2, 1e-10)
    #expect(rows[0] == 1 && rows[1].isNaN && rows[3] == 1)
  }
}
