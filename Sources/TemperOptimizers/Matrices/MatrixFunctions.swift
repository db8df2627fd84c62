import Glibc
import TemperCore
import TemperGraph
import TemperKernels

/// Functions of symmetric matrices inside a plan, in double precision. The only file of this room that turns tensors into
/// pointers.
enum MatrixFunctions {
  /// A^power of a symmetric matrix without negative eigenvalues, where `isDue` is not 0; else what was known. Eigenvalues
  /// below 1e-12 of the largest, rounding's remains, count as that.
  static func power(_ a: Expression, _ power: Double, known: Expression, isDue: Expression) -> Expression {
    let operation = CustomOperation(name: "matrix power") { (inputs, output, workers) throws(TemperError) in
      guard try inputs[2].array(of: Double.self)[0] != 0 else { return try output.assign(from: inputs[1]) }
      let n = output.shape.last
      let matrix = try inputs[0].copy(as: .float64)
      let (vectors, values) = (try Tensor(zeros: [n, n], .float64), try Tensor(zeros: [n], .float64))
      unsafe temper_symmetric_eigen(matrix.doubles, vectors.doubles, values.doubles, Int64(n))
      let least = (try values.array(of: Double.self).max() ?? 0) * 1e-12
      // V^T f(values) V: the rows of V, each times f, into what is used up already.
      let all = try values.array(of: Double.self)
      let rows = try vectors.array(of: Double.self)
      var result = [Double](repeating: 0, count: n * n)
      let factors = all.map { least > 0 ? pow(max($0, least), power) : 0 }
      for k in 0..<n where factors[k] != 0 {
        for i in 0..<n {
          let left = rows[k * n + i] * factors[k]
          for j in 0..<n { result[i * n + j] += left * rows[k * n + j] }
        }
      }
      try output.assign(from: try Tensor(result, shape: [n, n]))
    }
    return .custom(operation, [a, known, isDue], shape: a.shape)
  }

  /// The eigenvectors of A as columns, by one step of orthogonal iteration from `basis`, where `isDue` is not 0: A Q made
  /// orthonormal column by column.
  static func iteratedBasis(_ a: Expression, _ basis: Expression, isDue: Expression) -> Expression {
    let operation = CustomOperation(name: "orthogonal iteration") { (inputs, output, _) throws(TemperError) in
      guard try inputs[2].array(of: Double.self)[0] != 0 else { return try output.assign(from: inputs[1]) }
      let n = output.shape.last
      let rows = try inputs[0].copy(as: .float64)
      unsafe temper_orthonormal_rows(rows.doubles, Int64(n), output.dtype == .float64 ? 1e-10 : 1e-5)
      try output.assign(from: try rows.permuted([1, 0]))
    }
    // (A Q)^T has the columns as rows.
    return .custom(
      operation, [.matmul(basis, a, transposeA: true, transposeB: true), basis, isDue], shape: a.shape)
  }
}

extension MatrixFunctions {
  /// Of each matrix of a stack (N, rows, columns), over its Frobenius norm: the roots of the eigenvalues of the smaller of
  /// M M^T and M^T M.
  static func normalisedSingularValues(of stack: Tensor) throws(TemperError) -> [Double] {
    let (rows, columns) = (stack.shape[1], stack.shape[2])
    let all = try stack.array(of: Double.self)
    let (n, length) = (min(rows, columns), max(rows, columns))
    var singular: [Double] = []
    for index in 0..<stack.shape[0] {
      let start = index * rows * columns
      func element(_ i: Int, _ k: Int) -> Double { all[start + (rows <= columns ? i * columns + k : k * columns + i)] }
      var gram = [Double](repeating: 0, count: n * n)
      for i in 0..<n {
        for j in 0...i {
          var sum = 0.0
          for k in 0..<length { sum += element(i, k) * element(j, k) }
          (gram[i * n + j], gram[j * n + i]) = (sum, sum)
        }
      }
      let trace = (0..<n).reduce(0) { $0 + gram[$1 * n + $1] }
      guard trace > 0, trace.isFinite else { continue }
      let matrix = try Tensor(gram.map { $0 / trace }, shape: [n, n])
      let (vectors, values) = (try Tensor(zeros: [n, n], .float64), try Tensor(zeros: [n], .float64))
      unsafe temper_symmetric_eigen(matrix.doubles, vectors.doubles, values.doubles, Int64(n))
      singular += try values.array(of: Double.self).map { max($0, 0).squareRoot() }
    }
    return singular
  }
}

extension MatrixFunctions {
  /// A^(-1/2) of a symmetric matrix (n, n) without negative eigenvalues.
  static func inverseRoot(_ matrix: [Double], _ n: Int) throws(TemperError) -> [Double] {
    let tensor = try Tensor(matrix, shape: [n, n])
    let (vectors, values) = (try Tensor(zeros: [n, n], .float64), try Tensor(zeros: [n], .float64))
    unsafe temper_symmetric_eigen(tensor.doubles, vectors.doubles, values.doubles, Int64(n))
    let (rows, all) = (try vectors.array(of: Double.self), try values.array(of: Double.self))
    let least = max(all.max() ?? 0, 1e-300) * 1e-14
    var result = [Double](repeating: 0, count: n * n)
    for k in 0..<n {
      let factor = 1 / max(all[k], least).squareRoot()
      for i in 0..<n {
        for j in 0..<n { result[i * n + j] += rows[k * n + i] * factor * rows[k * n + j] }
      }
    }
    return result
  }

  /// U V^T of U S V^T: M (M^T M)^(-1/2), made orthogonal to the last digit by Newton and Schulz's steps.
  static func nearestOrthogonal(_ matrix: [Double], _ n: Int) throws(TemperError) -> [Double] {
    func product(_ a: [Double], _ b: [Double]) -> [Double] { SmallMatrices.product(a, b, n, n, n) }
    func transposed(_ a: [Double]) -> [Double] { SmallMatrices.transposed(a, n, n) }
    var q = product(matrix, try inverseRoot(product(transposed(matrix), matrix), n))
    for _ in 0..<3 {
      let cube = product(q, product(transposed(q), q))
      q = zip(q, cube).map { 1.5 * $0 - 0.5 * $1 }
    }
    return q
  }
}

extension Tensor {
  @unsafe fileprivate var doubles: UnsafeMutablePointer<Double> {
    unsafe pointer.assumingMemoryBound(to: Double.self)
  }
}
