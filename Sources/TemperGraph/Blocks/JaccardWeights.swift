import TemperCore
import TemperKernels

extension Expression {
  /// For probabilities (N, C) and the classes of samples: the weights (N, C), constants, by which the errors
  /// |[y = c] - p_c| make the Lovasz extension of the Jaccard loss (jaccard_weights.h), the mean over the classes that
  /// have samples or over all.
  package func jaccardWeights(_ classes: Expression, ofAllClasses: Bool) -> Expression {
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
        let counts = try Tensor(zeros: [classes], .int32)
        let least = try Tensor(zeros: [classes], type)
        let room = (temper_jaccard_scratch(Int64(samples)) + 63) & ~63
        let scratch = try Storage(byteCount: room * workers.count)
        let job = unsafe temper_jaccard_job(
          element: type == .float64 ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32, all_classes: ofAllClasses,
          samples: Int64(samples), classes: Int64(classes), p: UnsafeRawPointer(inputs[0].pointer),
          ids: UnsafePointer(inputs[1].pointer.assumingMemoryBound(to: Int32.self)), w: output.pointer,
          counts: counts.pointer.assumingMemoryBound(to: Int32.self), least: least.pointer)
        let counting = unsafe withUnsafePointer(to: job) { unsafe temper_jaccard_count($0) }
        let block = Int(TEMPER_JACCARD_BLOCK)
        workers.run((classes + block - 1) / block) { piece, worker in
          unsafe withUnsafePointer(to: job) {
            unsafe temper_jaccard_weights(
              $0, counting, Int64(piece), Int64(piece + 1), scratch.base + room * worker)
          }
        }
      }
    }
  }
}
