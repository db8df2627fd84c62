import TemperKernels

/// Matrix products of 8-bit integers.
package enum Int8Product {
  /// The longest sums that fit int32 whatever the factors.
  package static let largestDepth = TEMPER_INT8_EXACT_DEPTH

  /// c = a b, exact: a (m, k) and b (k, n) int8, any views; c (m, n) int32, dense. k is at most `largestDepth`.
  package static func run(_ a: Tensor, _ b: Tensor, into c: Tensor, workers: Workers) throws(TemperError) {
    guard a.dtype == .int8, b.dtype == .int8, c.dtype == .int32, c.isDense, !c.isReadOnly else {
      throw TemperError(
        .invalidType,
        "The product takes int8 and int8 to a dense int32 array; \(a.dtype.name), \(b.dtype.name) and \(c.dtype.name) came."
      )
    }
    guard a.shape.rank == 2, b.shape.rank == 2, a.shape[1] == b.shape[0], c.shape == [a.shape[0], b.shape[1]] else {
      throw TemperError(
        .invalidShape, "The product takes (m, k) and (k, n) to (m, n); \(a.shape), \(b.shape) and \(c.shape) came.")
    }
    guard a.shape[1] <= largestDepth else {
      throw TemperError(
        .outOfRange, "Sums of up to \(largestDepth) products of int8 are exact in int32; \(a.shape[1]) came.")
    }
    let a = a.strides[1] == 1 ? a : try a.copy()
    let b = b.strides[0] == 1 || b.strides[1] == 1 ? b : try b.copy()
    var product = unsafe temper_int8_product()
    unsafe (product.m, product.n, product.k) = (Int64(c.shape[0]), Int64(c.shape[1]), Int64(a.shape[1]))
    unsafe product.a = UnsafePointer(a.pointer.assumingMemoryBound(to: Int8.self))
    unsafe product.a_row_stride = Int64(a.strides[0])
    unsafe product.b = UnsafePointer(b.pointer.assumingMemoryBound(to: Int8.self))
    unsafe (product.b_row_stride, product.b_column_stride) = (Int64(b.strides[0]), Int64(b.strides[1]))
    unsafe product.c = c.pointer.assumingMemoryBound(to: Int32.self)
    unsafe product.c_row_stride = Int64(c.strides[0])
    var plan = unsafe temper_int8_plan_make(&product, Int64(workers.count))
    let scratch = try workers.scratch(Int(plan.scratch_bytes))
    unsafe withUnsafePointer(to: &product) { product in
      unsafe withUnsafePointer(to: &plan) { plan in
        workers.run(Int(unsafe plan.pointee.piece_count)) { piece, worker in
          unsafe temper_int8_run_piece(product, plan, Int64(piece), scratch[worker].base)
        }
      }
    }
    withExtendedLifetime((a, b, c)) {}
  }
}
