import TemperCore
import TemperKernels

/// Packed matrices as the kernels see them.
extension PackedMatrix {
  @unsafe func withKernelMatrix<Result>(_ body: (UnsafePointer<temper_packed_matrix>) -> Result) -> Result {
    func with(_ levels: UnsafePointer<Float>?) -> Result {
      withExtendedLifetime(self) {
        var matrix = unsafe temper_packed_matrix(
          rows: Int64(rows), columns: Int64(columns), bits: Int32(grid.bits), first_level: Float(grid.firstLevel),
          levels: levels, codes: codes.pointer.assumingMemoryBound(to: UInt8.self), group_size: Int64(groupSize),
          scale_row_stride: scales.shape[0] == rows ? Int64(scales.shape[1]) : 0,
          scales: scales.pointer.assumingMemoryBound(to: Float.self),
          zeros: zeros?.pointer.assumingMemoryBound(to: UInt8.self))
        return unsafe withUnsafePointer(to: &matrix) { unsafe body($0) }
      }
    }
    guard let codebook = grid.codebook else { return with(nil) }
    return unsafe codebook.levels.withUnsafeBufferPointer { unsafe with($0.baseAddress) }
  }

  /// The code nearest to each weight under given scales and zero points. Scales are positive.
  init(
    nearest weight: Weight, grid: Grid, groupSize: Int, scales: Tensor, zeros: Tensor?, workers: Workers
  ) throws(TemperError) {
    let rowBytes = PackedMatrix.rowBytes(columns: weight.columns, bits: grid.bits)
    let codes = try Tensor(zeros: [weight.rows, rowBytes], .uint8)
    try self.init(
      shape: weight.shape, grid: grid, groupSize: groupSize, scales: scales, zeros: zeros, codes: codes)
    let values = weight.values
    unsafe withKernelMatrix { matrix in
      unsafe grid.withKernelLevels { levels in
        workers.runRows(rows, columns) { begin, end in
          unsafe temper_encode_rows(
            matrix, levels, values.pointer.assumingMemoryBound(to: Float.self), Int64(begin), Int64(end),
            codes.pointer.assumingMemoryBound(to: UInt8.self))
        }
      }
    }
  }

  /// Codes one a byte, (rows, columns); each must be one that the grid uses.
  package init(
    shape: Shape, grid: Grid, groupSize: Int, scales: Tensor, zeros: Tensor?, looseCodes: Tensor, workers: Workers
  ) throws(TemperError) {
    let rows = PackedMatrix.rows(of: shape)
    let columns = PackedMatrix.columns(of: shape)
    guard looseCodes.dtype == .uint8, looseCodes.shape == [rows, columns] else {
      throw TemperError(
        .invalidShape,
        "Codes must be uint8 of shape \(Shape([rows, columns])); \(looseCodes.dtype.name) of shape \(looseCodes.shape) came."
      )
    }
    let loose = try looseCodes.dense()
    let isUsed = (0...255).map { grid.uses(UInt8($0)) }
    for code in try loose.array(of: UInt8.self) where !isUsed[Int(code)] {
      throw TemperError(.outOfRange, "A grid of \(grid.bits) bits and \(grid.name) levels has no code \(code).")
    }
    let codes = try Tensor(zeros: [rows, PackedMatrix.rowBytes(columns: columns, bits: grid.bits)], .uint8)
    workers.runRows(rows, columns) { begin, end in
      unsafe temper_pack_rows(
        Int64(columns), Int32(grid.bits), loose.pointer.assumingMemoryBound(to: UInt8.self), Int64(begin), Int64(end),
        codes.pointer.assumingMemoryBound(to: UInt8.self))
    }
    try self.init(
      shape: shape, grid: grid, groupSize: groupSize, scales: scales, zeros: zeros, codes: codes)
  }

  /// Codes one a byte, (rows, columns), uint8.
  package func looseCodes(workers: Workers) throws(TemperError) -> Tensor {
    let loose = try Tensor(zeros: [rows, columns], .uint8)
    unsafe withKernelMatrix { matrix in
      workers.runRows(rows, columns) { begin, end in
        unsafe temper_unpack_rows(
          matrix, Int64(begin), Int64(end), loose.pointer.assumingMemoryBound(to: UInt8.self))
      }
    }
    return loose
  }

  /// The codes in the layout of files, (rows, bytes of a row).
  func storedCodes(workers: Workers) throws(TemperError) -> Tensor {
    let loose = try looseCodes(workers: workers)
    let stored = try Tensor(zeros: [rows, Int(temper_stored_row_bytes(Int64(columns), Int32(bits)))], .uint8)
    workers.runRows(rows, columns) { begin, end in
      unsafe temper_store_rows(
        Int64(columns), Int32(bits), loose.pointer.assumingMemoryBound(to: UInt8.self), Int64(begin), Int64(end),
        stored.pointer.assumingMemoryBound(to: UInt8.self))
    }
    return stored
  }

  /// Codes one a byte, (rows, columns), from the layout of files.
  static func restoredCodes(
    _ stored: Tensor, shape: Shape, bits: Int, workers: Workers
  ) throws(TemperError) -> Tensor {
    let rows = PackedMatrix.rows(of: shape)
    let columns = PackedMatrix.columns(of: shape)
    let expected: Shape = [rows, Int(temper_stored_row_bytes(Int64(columns), Int32(bits)))]
    guard stored.dtype == .uint8, stored.shape == expected else {
      throw TemperError(
        .invalidShape,
        "Stored codes must be uint8 of shape \(expected); \(stored.dtype.name) of shape \(stored.shape) came.")
    }
    let stored = try stored.dense()
    let loose = try Tensor(zeros: [rows, columns], .uint8)
    workers.runRows(rows, columns) { begin, end in
      unsafe temper_restore_rows(
        Int64(columns), Int32(bits), stored.pointer.assumingMemoryBound(to: UInt8.self), Int64(begin), Int64(end),
        loose.pointer.assumingMemoryBound(to: UInt8.self))
    }
    return loose
  }

  @unsafe package func decode(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    unsafe withKernelMatrix { matrix in
      for row in rows {
        unsafe temper_dequantize_row(
          matrix, TEMPER_VARIANT_BEST, Int64(row), 0, Int64(columns), target + (row - rows.lowerBound) * columns)
      }
    }
  }

  /// Straight from the codes. The weights enter with exactly the values of `decode`.
  package func multiply(_ x: Tensor, into y: Tensor, workers: Workers) throws(TemperError) {
    let m = x.shape[0]
    var scratch: [Storage] = []
    let failure = unsafe withKernelMatrix { matrix -> TemperError? in
      var product = unsafe temper_packed_product(
        matrix: matrix, element: x.dtype == .float64 ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32,
        variant: TEMPER_VARIANT_BEST, m: Int64(m), x: x.pointer, x_row_stride: Int64(columns), y: y.pointer,
        y_row_stride: Int64(rows))
      var plan = unsafe temper_packed_plan_make(&product)
      do throws(TemperError) {
        scratch = try workers.scratch(Int(plan.scratch_bytes))
      } catch { return error }
      unsafe withUnsafePointer(to: &product) { product in
        unsafe withUnsafePointer(to: &plan) { plan in
          unsafe workers.run(Int(plan.pointee.piece_count)) { piece, worker in
            unsafe temper_packed_run_piece(product, plan, Int64(piece), scratch[worker].base)
          }
        }
      }
      return nil
    }
    withExtendedLifetime((x, y)) {}
    if let failure { throw failure }
  }

  /// Squared error, squared weight and largest error, by row.
  func rowErrors(of weight: Weight, workers: Workers) -> [temper_row_error] {
    let values = weight.values
    var errors = [temper_row_error](repeating: temper_row_error(), count: rows)
    unsafe errors.withUnsafeMutableBufferPointer { errors in
      unsafe withKernelMatrix { matrix in
        workers.runRows(rows, columns) { begin, end in
          for row in begin..<end {
            unsafe errors[row] = unsafe temper_packed_row_error(
              matrix, values.pointer.assumingMemoryBound(to: Float.self), Int64(row))
          }
        }
      }
    }
    return errors
  }
}

extension Workers {
  /// Rows in pieces of about 64 thousand elements.
  func runRows(_ rows: Int, _ columns: Int, _ body: (_ begin: Int, _ end: Int) -> Void) {
    let step = max(1, (1 << 16) / max(columns, 1))
    run((rows + step - 1) / step) { piece, _ in body(piece * step, min(rows, (piece + 1) * step)) }
  }
}
