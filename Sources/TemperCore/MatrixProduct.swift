import TemperKernels

extension Workers {
  /// Memory for each of them, not cleared.
  package func scratch(_ byteCount: Int) throws(TemperError) -> [Storage] {
    var scratch: [Storage] = []
    for _ in 0..<count { scratch.append(try Storage(byteCount: byteCount, isCleared: false)) }
    return scratch
  }
}

/// Matrix products of tensors outside graphs.
package enum MatrixProduct {
  /// c = scale a b, or c += scale a b: a (m, k), b (k, n), c (m, n), one floating type; a and b may be any views, rows of
  /// c are dense.
  package static func run(
    _ a: Tensor, _ b: Tensor, into c: Tensor, accumulate: Bool = false, scale: Double = 1, workers: Workers
  ) throws(TemperError) {
    Multiplications.add(c.shape[0] * c.shape[1] * a.shape[1])
    var job = unsafe temper_matmul_job()
    unsafe job.element = c.dtype == .float64 ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32
    unsafe job.accumulate = accumulate
    unsafe job.alpha = scale
    unsafe (job.m, job.n, job.k, job.batch) = (Int64(c.shape[0]), Int64(c.shape[1]), Int64(a.shape[1]), 1)
    unsafe job.a = UnsafeRawPointer(a.pointer)
    unsafe (job.a_row_stride, job.a_column_stride) = (Int64(a.strides[0]), Int64(a.strides[1]))
    unsafe job.b = UnsafeRawPointer(b.pointer)
    unsafe (job.b_row_stride, job.b_column_stride) = (Int64(b.strides[0]), Int64(b.strides[1]))
    unsafe job.c = c.pointer
    unsafe job.c_row_stride = Int64(c.strides[0])
    var plan = unsafe temper_matmul_plan_make(&job)
    let workspace = try Storage(byteCount: Int(plan.workspace_bytes), isCleared: false)
    let scratch = try workers.scratch(Int(plan.scratch_bytes))
    let counts = [Int(plan.piece_counts.0), Int(plan.piece_counts.1)]
    unsafe withUnsafePointer(to: &job) { job in
      unsafe withUnsafePointer(to: &plan) { plan in
        for phase in unsafe 0..<Int(plan.pointee.phase_count) {
          workers.run(counts[phase]) { piece, worker in
            unsafe temper_matmul_run_piece(
              job, plan, Int32(phase), Int64(piece), workspace.base, scratch[worker].base)
          }
        }
      }
    }
    withExtendedLifetime((a, b, c, workspace)) {}
  }
}
