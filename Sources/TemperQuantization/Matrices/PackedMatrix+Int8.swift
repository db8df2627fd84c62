import TemperCore
import TemperKernels

/// How the inputs of a product with packed weights enter it.
package enum InputPrecision: String, Sendable, CaseIterable {
  /// As they are.
  case float
  /// Each row rounded to whole numbers from -127 to 127 with a scale of its own; the products are sums of integers.
  case int8
}

extension PackedMatrix {
  /// y = x Wᵀ with the rows of x rounded to 8-bit integers: x (m, columns) to y (m, rows), both dense float32. A row
  /// that is not finite gives NaN.
  func multiplyInt8(_ x: Tensor, into y: Tensor, workers: Workers) throws(TemperError) {
    guard grid.codebook == nil else {
      throw TemperError(
        .unsupported,
        "Products in integers need levels that are whole numbers; \(grid.name) has a table. Use activations \"float\".")
    }
    let m = x.shape[0]
    let pitch = Int(temper_int8_pitch(Int64(columns)))
    let values = try Storage(byteCount: m * pitch, isCleared: false)
    let inputScales = try Storage(byteCount: 4 * m, isCleared: false)
    var scratch: [Storage] = []
    var sums: Storage?
    let failure = unsafe withKernelMatrix { matrix -> TemperError? in
      let partColumns = Int(unsafe temper_int8_part_columns(matrix))
      do throws(TemperError) {
        sums = try Storage(byteCount: 4 * m * ((columns + partColumns - 1) / partColumns), isCleared: false)
      } catch { return error }
      guard let sums else { return nil }
      var activations = unsafe temper_int8_activations(
        m: Int64(m), values: values.base.assumingMemoryBound(to: Int8.self),
        scales: inputScales.base.assumingMemoryBound(to: Float.self),
        sums: sums.base.assumingMemoryBound(to: Int32.self))
      return unsafe withUnsafePointer(to: &activations) { activations -> TemperError? in
        workers.runRows(m, columns) { begin, end in
          unsafe temper_int8_round_rows(
            matrix, x.pointer.assumingMemoryBound(to: Float.self), Int64(columns), Int64(begin), Int64(end), activations
          )
        }
        var product = unsafe temper_int8_packed_product(
          matrix: matrix, variant: TEMPER_VARIANT_BEST, x: activations,
          y: y.pointer.assumingMemoryBound(to: Float.self), y_row_stride: Int64(rows))
        var plan = unsafe temper_int8_packed_plan_make(&product)
        do throws(TemperError) {
          scratch = try workers.scratch(Int(plan.scratch_bytes))
        } catch { return error }
        unsafe withUnsafePointer(to: &product) { product in
          unsafe withUnsafePointer(to: &plan) { plan in
            workers.run(Int(unsafe plan.pointee.piece_count)) { piece, worker in
              unsafe temper_int8_packed_run_piece(product, plan, Int64(piece), scratch[worker].base)
            }
          }
        }
        return nil
      }
    }
    withExtendedLifetime((x, y, values, inputScales, sums)) {}
    if let failure { throw failure }
  }
}
