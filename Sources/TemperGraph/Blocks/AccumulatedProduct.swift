import TemperCore

/// c = a b or c += a b, or with a^T, for dense matrices of given sizes: what a custom operation adds up block by block
/// needs no array for the part that is added.
package final class AccumulatedProduct {
  private let runner: MatrixProductRunner
  private let workers: Workers
  private let scratch: Scratch

  /// c is m x n and k is what is summed over.
  package init(
    m: Int, n: Int, k: Int, transposeA: Bool = false, _ type: DType, _ workers: Workers
  ) throws(TemperError) {
    let (a, b) = (
      View(root: 0, sizes: [m, k], strides: transposeA ? [1, m] : [k, 1]),
      View(root: 1, sizes: [k, n], strides: [n, 1])
    )
    runner = MatrixProductRunner(
      MatrixProduct(
        m: m, n: n, k: k, batch: 1, a: a, aStrides: (a.strides[0], a.strides[1], 0), b: b,
        bStrides: (b.strides[0], b.strides[1], 0)), 2, type)
    self.workers = workers
    scratch = try Scratch(shared: runner.workspaceBytes, each: runner.scratchBytes, workers: workers.count)
  }

  package func run(_ a: Tensor, _ b: Tensor, into c: Tensor, adding: Bool) {
    runner.accumulates = adding
    runner.resolve(
      [a, b, c].map { Memory(storage: $0.storage, byteOffset: $0.byteOffset, kind: .real, type: $0.dtype) })
    runner.run(workers, scratch)
    Multiplications.add(runner.multiplications)
  }
}
