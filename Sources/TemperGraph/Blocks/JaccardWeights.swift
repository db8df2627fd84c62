import TemperCore
import TemperKernels

extension Expression {
  /// For probabilities (N, C) and the classes of samples: the slopes (N, C), constants, by the probabilities, of the
  /// Lovasz extension of the Jaccard loss of errors |[y = c] - p_c| (jaccard_weights.h), the mean over the classes that
  /// have samples or over all.
  package func jaccardSlopes(_ classes: Expression, ofAllClasses: Bool) -> Expression {
    let operation = ofAllClasses ? Expression.weightsOfAll : Expression.weightsOfPresent
    return Expression.custom(operation, [self, classes], shape: shape).stopGradient
  }

  private static let weightsOfPresent = jaccardOperation(ofAllClasses: false)
  private static let weightsOfAll = jaccardOperation(ofAllClasses: true)

  private static func jaccardOperation(ofAllClasses: Bool) -> CustomOperation {
    CustomOperation(name: "jaccard_weights") { (type, workers) throws(TemperError) in
      { (inputs, outputs) throws(TemperError) in
        guard let output = outputs[0], output.shape.count > 0 else { return }
        let (samples, classes) = (inputs[0].shape[0], inputs[0].shape.last)
        let (counts, found) = (try Tensor(zeros: [classes], .int32), try Tensor(zeros: [samples], .int32))
        let (least, starts) = (try Tensor(zeros: [classes], type), try Tensor(zeros: [classes + 1], .int64))
        var job = unsafe temper_jaccard_job(
          element: type == .float64 ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32, all_classes: ofAllClasses,
          samples: Int64(samples), classes: Int64(classes), p: UnsafeRawPointer(inputs[0].pointer),
          ids: UnsafePointer(inputs[1].pointer.assumingMemoryBound(to: Int32.self)), w: output.pointer,
          counts: counts.pointer.assumingMemoryBound(to: Int32.self), least: least.pointer,
          found: found.pointer.assumingMemoryBound(to: Int32.self),
          starts: starts.pointer.assumingMemoryBound(to: Int64.self), list: nil)
        let counting = unsafe temper_jaccard_count(&job)
        /// Calls `body` with ranges of about `size` things out of `count`.
        func inPieces(
          _ count: Int, _ size: Int, _ body: (UnsafePointer<temper_jaccard_job>, Int64, Int64, Int) -> Void
        ) {
          let constant = unsafe job
          workers.run((count + size - 1) / size) { piece, worker in
            unsafe withUnsafePointer(to: constant) {
              unsafe body($0, Int64(piece * size), Int64(min((piece + 1) * size, count)), worker)
            }
          }
        }
        let rows = max((1 << 16) / max(classes, 1), 1)
        unsafe inPieces(samples, rows) { job, begin, end, _ in unsafe temper_jaccard_find(job, begin, end) }
        let list = try Storage(byteCount: max(Int(unsafe temper_jaccard_starts(&job)), 1) * 4)
        unsafe job.list = list.base.assumingMemoryBound(to: Int32.self)
        unsafe temper_jaccard_list(&job)
        unsafe inPieces(samples, rows) { job, begin, end, _ in unsafe temper_jaccard_clear(job, counting, begin, end) }
        var longest: Int64 = 0
        for c in 0..<classes { longest = unsafe max(longest, job.starts[c + 1] - job.starts[c]) }
        let room = (temper_jaccard_scratch(longest) + 63) & ~63
        let scratch = try Storage(byteCount: room * workers.count)
        unsafe inPieces(classes, max(classes / 64, 1)) { job, begin, end, worker in
          unsafe temper_jaccard_weigh(job, counting, begin, end, scratch.base + room * worker)
        }
      }
    }
  }
}
