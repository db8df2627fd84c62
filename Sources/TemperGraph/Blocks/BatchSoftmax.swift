import Glibc
import TemperCore
import TemperKernels

extension Expression {
  /// For rows x (N, C): max x and log sum exp(x - max x) of each, (N, 1), and the logarithm of the mean over rows of
  /// each class's softmax, (1, C), as a peak, not 0 where the mean is tiny, and the rest. The rows are read once, and
  /// nothing of their size is stored. Max x and peaks count as constants.
  package func batchSoftmax() -> BatchSoftmax {
    let found = Expression.custom(BatchSoftmax.operation, [self])
    guard found.count == 4 else { return BatchSoftmax(top: self, logSum: self, peak: self, rest: self) }
    return BatchSoftmax(top: found[0], logSum: found[1], peak: found[2], rest: found[3])
  }
}

package struct BatchSoftmax {
  package let top: Expression, logSum: Expression
  package let peak: Expression, rest: Expression

  private static func definition(_ x: Expression) -> [Expression] {
    let top = x.maximum().stopGradient
    let logSum = log(exp(x - top).sum())
    let logp = x - top - logSum
    let peak = maximum(logp.maximum(axis: 0), -1e30).stopGradient
    return [top, logSum, peak, log(exp(logp - peak).sum(axis: 0) / Double(x.shape[0]))]
  }

  fileprivate static let operation = CustomOperation(
    name: "batch_softmax", definition: { definition($0[0]) },
    prepare: { (type, workers) throws(TemperError) in body(type, workers) })

  /// Rows whose sums are added up in the working type, the sums of so many rows then in double.
  private static func rowsOfPiece(_ classes: Int) -> Int { classes <= 32 ? 2048 : 256 }

  private static func body(_ type: DType, _ workers: Workers) -> CustomOperation.Body {
    // Where a mean is so small that probabilities vanish beside it.
    let least = type == .float64 ? 1e-290 : 1e-30
    var exact: TilePlans<Int>?
    return { (inputs, outputs) throws(TemperError) in
      let x = inputs[0], (rows, classes) = (inputs[0].shape[0], inputs[0].shape.last)
      guard rows * classes > 0 else { return }
      // Only as many as are read come.
      func output(_ index: Int, _ shape: Shape) throws(TemperError) -> Tensor {
        try (index < outputs.count ? outputs[index] : nil).orZeros(shape, type)
      }
      let (top, logSum) = (try output(0, [rows, 1]), try output(1, [rows, 1]))
      let step = rowsOfPiece(classes), pieces = (rows + step - 1) / step
      let sums = try Tensor(zeros: [pieces, classes], type)
      let bytes = (classes * type.byteCount + 63) & ~63
      let scratch = try Storage(byteCount: bytes * workers.count)
      workers.run(pieces) { piece, worker in
        var job = unsafe temper_batch_softmax_job(
          element: type == .float64 ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32, variant: TEMPER_VARIANT_BEST,
          classes: Int64(classes), logits: UnsafeRawPointer(x.pointer), top: top.pointer, log_sum: logSum.pointer,
          sums: sums.pointer + piece * classes * type.byteCount, scratch: scratch.base + bytes * worker)
        unsafe temper_batch_softmax(&job, Int64(piece * step), Int64(min((piece + 1) * step, rows)))
      }
      guard outputs.count > 2 else { return }
      let (peak, rest) = (try output(2, [1, classes]), try output(3, [1, classes]))
      var means = [Double](repeating: 0, count: classes)
      for piece in 0..<pieces {
        let part = try sums.slice(piece..<(piece + 1)).array(of: Double.self)
        for c in 0..<classes { means[c] += part[c] }
      }
      for c in 0..<classes { means[c] /= Double(rows) }
      if means.contains(where: { $0 < least }) {
        let plans =
          exact
          ?? TilePlans<Int>(type, workers) { n in
            definition(.input("x", [n, classes])).dropFirst(2).map { Output($0) }
          }
        exact = plans
        try plans.run(rows, ["x": x], [0: peak, 1: rest])
      } else {
        try peak.fill(0)
        try rest.assign(from: try Tensor(means.map { Glibc.log($0) }, shape: [1, classes]))
      }
    }
  }
}
