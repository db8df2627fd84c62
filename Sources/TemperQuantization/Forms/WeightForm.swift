import TemperCore
import TemperNetworks

/// A way to hold the values of a weight matrix in few bits. Rows (outputs) are the first axis of `shape`, all other axes
/// together the columns (inputs).
package protocol WeightForm: Sendable {
  var shape: Shape { get }
  /// Of one weight, without scales and tables.
  var bits: Double { get }
  /// Everything that `decode` needs.
  var byteCount: Int { get }
  /// Rows `rows` as float32, one after the other, into `target`.
  @unsafe func decode(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>)
  /// y = x Wᵀ: x (m, columns) to y (m, rows), both dense, of one floating type.
  func multiply(_ x: Tensor, into y: Tensor, workers: Workers) throws(TemperError)
  /// What a file's metadata says of it, and the tensors beside it, by what follows the weight's name.
  var storedDescription: [JSON.Member] { get }
  func storedTensors(workers: Workers) throws(TemperError) -> [(suffix: String, tensor: Tensor)]
}

extension WeightForm {
  package var rows: Int { PackedMatrix.rows(of: shape) }
  package var columns: Int { PackedMatrix.columns(of: shape) }

  /// Through decoded blocks of rows, for forms without kernels of their own.
  package func multiply(_ x: Tensor, into y: Tensor, workers: Workers) throws(TemperError) {
    try multiplyDecoded(x, into: y, workers: workers)
  }

  func multiplyDecoded(_ x: Tensor, into y: Tensor, workers: Workers) throws(TemperError) {
    let step = max(1, (1 << 18) / max(columns, 1))
    for start in stride(from: 0, to: rows, by: step) {
      let block = start..<min(start + step, rows)
      let decoded = try Tensor(zeros: [block.count, columns], .float32)
      let target = unsafe decoded.pointer.assumingMemoryBound(to: Float.self)
      workers.runRows(block.count, columns) { begin, end in
        unsafe decode((start + begin)..<(start + end), into: target + begin * columns)
      }
      let weights = x.dtype == .float32 ? decoded : try decoded.copy(as: x.dtype)
      let part = try Tensor(zeros: [x.shape[0], block.count], y.dtype)
      try MatrixProduct.run(x, try weights.permuted([1, 0]), into: part, workers: workers)
      try y.slice(block, axis: 1).assign(from: part)
    }
  }
}
