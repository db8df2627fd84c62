import TemperCore
import TemperKernels

/// Rounding with error feedback as the kernels do it.
extension Weight {
  private static let rowsOfPiece = 64

  /// Codes one a byte, (rows, columns). `factors` (columns, columns) are those of columns in `order`.
  func roundedWithFeedback(
    _ grid: Grid, scales: Tensor, zeros: Tensor?, groupSize: Int, factors: Tensor, order: [Int], workers: Workers
  ) throws(TemperError) -> Tensor {
    let ordered = try Tensor(zeros: [rows, columns], .float32)
    let errors = try Tensor(zeros: [rows, columns], .float32)
    let orderedCodes = try Tensor(zeros: [rows, columns], .uint8)
    let codes = try Tensor(zeros: [rows, columns], .uint8)
    let groups = order.map { Int32($0 / groupSize) }
    var scratch: [Storage] = []
    let failure = unsafe grid.withKernelLevels { levels -> TemperError? in
      unsafe groups.withUnsafeBufferPointer { groups -> TemperError? in
        let source = unsafe values.pointer.assumingMemoryBound(to: Float.self)
        let target = unsafe ordered.pointer.assumingMemoryBound(to: Float.self)
        let (from, to) = unsafe (
          orderedCodes.pointer.assumingMemoryBound(to: UInt8.self), codes.pointer.assumingMemoryBound(to: UInt8.self)
        )
        var feedback = unsafe temper_feedback(
          levels: levels, columns: Int64(columns), factors: factors.pointer.assumingMemoryBound(to: Float.self),
          groups: groups.baseAddress, scale_row_stride: scales.shape[0] == rows ? Int64(scales.shape[1]) : 0,
          scales: scales.pointer.assumingMemoryBound(to: Float.self),
          zeros: zeros?.pointer.assumingMemoryBound(to: UInt8.self), weights: target,
          errors: errors.pointer.assumingMemoryBound(to: Float.self), codes: from)
        let step = Weight.rowsOfPiece
        do throws(TemperError) {
          for _ in 0..<workers.count {
            scratch.append(try Storage(byteCount: Int(unsafe temper_feedback_scratch(&feedback, Int64(step)))))
          }
        } catch { return error }
        unsafe withUnsafePointer(to: &feedback) { feedback in
          workers.run((rows + step - 1) / step) { piece, worker in
            let (begin, end) = (piece * step, min(rows, (piece + 1) * step))
            for row in begin..<end {
              for (place, column) in order.enumerated() {
                unsafe target[row * columns + place] = unsafe source[row * columns + column]
              }
            }
            unsafe temper_feedback_rows(feedback, Int64(begin), Int64(end), scratch[worker].base)
            for row in begin..<end {
              for (place, column) in order.enumerated() {
                unsafe to[row * columns + column] = unsafe from[row * columns + place]
              }
            }
          }
        }
        return nil
      }
    }
    withExtendedLifetime((self, scales, zeros, factors, ordered, errors, orderedCodes)) {}
    if let failure { throw failure }
    return codes
  }
}

extension Tensor {
  /// Of a square float64 matrix: rows and columns `order`, `added` on the diagonal.
  func gathered(
    rowsAndColumns order: [Int], addingToDiagonal added: Double, workers: Workers
  ) throws(TemperError) -> Tensor {
    let n = order.count
    let result = try Tensor(zeros: [n, n], .float64)
    let (source, target) = unsafe (
      pointer.assumingMemoryBound(to: Double.self), result.pointer.assumingMemoryBound(to: Double.self)
    )
    workers.runRows(n, n) { begin, end in
      for row in begin..<end {
        let from = unsafe source + order[row] * n
        for column in 0..<n { unsafe target[row * n + column] = unsafe from[order[column]] }
        unsafe target[row * n + row] += added
      }
    }
    withExtendedLifetime(self) {}
    return result
  }

  /// Of a lower triangular float64 matrix L, with R = L reversed in rows and columns: Rⱼᵢ / Rᵢᵢ above the diagonal,
  /// float32.
  func reversedOverDiagonal(workers: Workers) throws(TemperError) -> Tensor {
    let n = shape[0]
    let result = try Tensor(zeros: [n, n], .float32)
    let (lower, target) = unsafe (
      pointer.assumingMemoryBound(to: Double.self), result.pointer.assumingMemoryBound(to: Float.self)
    )
    workers.runRows(n, n) { begin, end in
      for row in begin..<end {
        let from = unsafe lower + (n - 1 - row) * n
        for column in (row + 1)..<max(n, row + 1) {
          let place = n - 1 - column
          unsafe target[row * n + column] = unsafe Float(from[place] / lower[place * (n + 1)])
        }
      }
    }
    withExtendedLifetime(self) {}
    return result
  }

  /// Of a square float64 matrix: what is below the diagonal becomes what is above. In blocks that stay in the cache.
  func mirrorUpperTriangle() {
    let n = shape[0]
    let block = 64
    let values = unsafe pointer.assumingMemoryBound(to: Double.self)
    for top in stride(from: 0, to: n, by: block) {
      for left in stride(from: 0, through: top, by: block) {
        for row in top..<min(top + block, n) {
          for column in left..<min(left + block, row) {
            unsafe values[row * n + column] = unsafe values[column * n + row]
          }
        }
      }
    }
    withExtendedLifetime(self) {}
  }

  /// Σ of products of elements, for float64 matrices whose rows are dense.
  func sumOfProducts(with other: Tensor) -> Double {
    let (left, right) = unsafe (
      pointer.assumingMemoryBound(to: Double.self), other.pointer.assumingMemoryBound(to: Double.self)
    )
    var total = 0.0
    for row in 0..<shape[0] {
      for column in 0..<shape[1] {
        total += unsafe left[row * strides[0] + column] * right[row * other.strides[0] + column]
      }
    }
    withExtendedLifetime((self, other)) {}
    return total
  }
}
