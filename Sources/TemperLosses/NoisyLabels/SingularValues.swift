import TemperCore
import TemperGraph
import TemperKernels

extension Expression {
  /// s_1 / sum_j s_j of a matrix, s its singular values, largest first. Its derivative is
  /// u_1 v_1^T / S - s_1 / S^2 sum_j u_j v_j^T; there is no second one.
  func dominantSingularShare() -> Expression {
    let (rows, columns) = (shape[0], shape[1])
    let function = ExternalFunction(name: "singular values", differentiable: [true]) {
      (inputs, outputs) throws(TemperError) in
      let matrix = try inputs[0].array(of: Double.self)
      // The smaller side, row after row.
      let isWide = rows < columns
      let (n, length) = isWide ? (rows, columns) : (columns, rows)
      let side = isWide ? matrix : SmallMatrices.transposed(matrix, rows, columns)
      let (share, factors) = SingularValues.dominantShare(side, n, length)
      try outputs[0]?.fill(share)
      guard outputs.count > 1, let gradient = outputs[1] else { return }
      let slope = SmallMatrices.product(factors, side, n, n, length)
      let placed = isWide ? slope : SmallMatrices.transposed(slope, n, length)
      try gradient.assign(from: try Tensor(placed, shape: gradient.shape))
    }
    return .external(function, [reshaped([1, rows * columns])])
  }
}

enum SingularValues {
  /// Of the n rows of A, no more than there are columns: s_1 / S, and the matrix whose product with A is its
  /// derivative, sum_j w_j u_j u_j^T / s_j with w_j = ([j = 1] - s_1 / S) / S. The u_j and s_j^2 are those of A A^T;
  /// values below 1e-7 of the first, rounding's remains there, count as 0.
  static func dominantShare(_ a: [Double], _ n: Int, _ length: Int) -> (share: Double, factors: [Double]) {
    var gram = SmallMatrices.product(a, SmallMatrices.transposed(a, n, length), n, length, n)
    var factors = [Double](repeating: 0, count: n * n)
    let trace = (0..<n).reduce(0) { $0 + gram[$1 * n + $1] }
    guard trace.isFinite else { return (.nan, factors.map { _ in .nan }) }
    guard trace > 0 else { return (0, factors) }
    var (vectors, squares) = (factors, [Double](repeating: 0, count: n))
    unsafe temper_symmetric_eigen(&gram, &vectors, &squares, Int64(n))
    let largest = squares.max() ?? 0
    let values = squares.map { $0 > 1e-14 * largest ? $0.squareRoot() : 0 }
    let (sum, first) = (values.reduce(0, +), squares.firstIndex(of: largest) ?? 0)
    let share = values[first] / sum
    for j in 0..<n where values[j] > 0 {
      let factor = ((j == first ? 1 : 0) - share) / (sum * values[j])
      for i in 0..<n {
        let left = factor * vectors[j * n + i]
        for k in 0..<n { factors[i * n + k] += left * vectors[j * n + k] }
      }
    }
    return (share, factors)
  }
}
