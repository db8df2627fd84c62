import TemperCore
import TemperKernels

extension Expression {
  /// The k largest entries of softmax along the last axis, falling, and their positions as numbers: (..., k) each. The whole
  /// softmax is not written; of equal entries the first comes first. Milakov and Gimelshein, arXiv 1805.02867.
  package func softmaxTop(_ k: Int) -> (probabilities: Expression, positions: Expression) {
    guard shape.rank > 0, k >= 1, k <= shape.last, shape.last <= 1 << 24 else {
      let wrong =
        error == nil
        ? Expression.invalid(.outOfRange, "The \(k) largest of rows of shape \(shape) do not exist.") : self
      return (wrong, wrong)
    }
    let operation = CustomOperation(
      name: "softmax_topk",
      definition: { x in
        let order = x[0].sortOrder(descending: true).slice(0..<k, axis: -1)
        return [x[0].softmax().takeAlong(order), TemperGraph.maximum(order, 0)]
      },
      gradient: { output, inputs, results, dy in
        guard output == 0 else { return [nil] }
        // y_j (dy_j - sum of dy y) where the k are, -p_i (sum of dy y) elsewhere.
        let weighted = dy * results[0]
        let columns = inputs[0].shape.last
        let placed = (0..<k).map { j in
          Expression.place(
            weighted.slice(j..<(j + 1), axis: -1), at: results[1].slice(j..<(j + 1), axis: -1), columns: columns)
        }
        return [placed.dropFirst().reduce(placed[0], +) - inputs[0].softmax() * weighted.sum()]
      },
      prepare: { (type, workers) throws(TemperError) in
        { (x, outputs) throws(TemperError) in
          let shape = Shape(Array(x[0].shape.sizes.dropLast()) + [k])
          let values = try outputs[0].orZeros(shape, type)
          let positions = try (outputs.count > 1 ? outputs[1] : nil).orZeros(shape, type)
          let (columns, rows) = (x[0].shape.last, shape.count / k)
          let step = max((1 << 15) / columns, 1)
          workers.run((rows + step - 1) / step) { piece, _ in
            var job = unsafe temper_softmax_topk_job(
              element: type == .float64 ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32, variant: TEMPER_VARIANT_BEST,
              classes: Int64(columns), k: Int64(k), logits: UnsafeRawPointer(x[0].pointer), row_stride: Int64(columns),
              out: values.pointer, positions: positions.pointer)
            unsafe temper_softmax_topk(&job, Int64(piece * step), Int64(min((piece + 1) * step, rows)))
          }
        }
      })
    let results = Expression.custom(operation, [self])
    return (results[0], results[1])
  }
}
