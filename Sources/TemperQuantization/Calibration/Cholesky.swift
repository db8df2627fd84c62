import TemperCore
import TemperKernels

/// Factors of symmetric positive definite matrices.
enum Cholesky {
  /// Overwrites the lower triangle of dense float64 `matrix` (n, n) with L, L Lᵀ = matrix; what is above the diagonal is
  /// not read. False if the matrix is not positive definite.
  static func factor(_ matrix: Tensor, workers: Workers) throws(TemperError) -> Bool {
    let n = Int64(matrix.shape[0])
    var scratch: [Storage] = []
    for _ in 0..<workers.count { scratch.append(try Storage(byteCount: Int(temper_cholesky_scratch(n)))) }
    let a = unsafe matrix.pointer.assumingMemoryBound(to: Double.self)
    let steps = temper_cholesky_steps(n)
    for step in 0..<steps {
      guard unsafe temper_cholesky_diagonal(a, n, step) else { return false }
      let pieces = Int(steps - step - 1)
      workers.run(pieces) { piece, _ in unsafe temper_cholesky_panel(a, n, step, Int64(piece)) }
      workers.run(pieces) { piece, worker in
        unsafe temper_cholesky_trailing(a, n, step, Int64(piece), scratch[worker].base)
      }
    }
    withExtendedLifetime(matrix) {}
    return true
  }
}
