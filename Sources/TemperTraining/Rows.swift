import Glibc
import TemperCore
import TemperKernels

/// The only file of this room that turns tensors into pointers.

/// Moves rows between an array with a row for each sample and a batch's buffer. Bound once, so that a step neither
/// looks anything up nor allocates.
@safe struct Rows {
  private let table: Tensor
  let batch: Tensor
  private let rowBytes: Int
  /// Rows of the batch.
  let count: Int
  /// Bytes of a thread's piece, where a batch is large enough for two.
  private static var share: Int { 1 << 18 }

  /// Both dense, of one type and one row shape.
  init(table: Tensor, batch: Tensor) {
    precondition(table.isDense && batch.isDense && table.dtype == batch.dtype)
    (self.table, self.batch, count) = (table, batch, batch.shape[0])
    rowBytes = batch.byteCount / Swift.max(count, 1)
    precondition(rowBytes * table.shape[0] == table.byteCount)
  }

  /// batch[i] = table[order[start + i]]; every id is inside the table.
  func gather(_ order: [Int32], from start: Int, _ workers: Workers) {
    precondition(start >= 0 && start + count <= order.count)
    let rows = Int64(table.shape[0])
    let bytes = Int64(rowBytes)
    unsafe order.withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress, count > 0 else { return }
      let ids = unsafe base + start
      let (to, from) = unsafe (batch.pointer, table.pointer)
      let perPiece = count * rowBytes < 2 * Rows.share ? count : Swift.max(1, Rows.share / rowBytes)
      workers.run((count + perPiece - 1) / perPiece) { piece, _ in
        let first = piece * perPiece
        unsafe temper_gather_rows(
          from, rows, bytes, ids, to, rowBytes, Int64(first), Int64(Swift.min(first + perPiece, count)))
      }
    }
  }

  /// table[order[start + i]] = batch[i]; of an id that stands twice the last row stays.
  func scatter(_ order: [Int32], from start: Int) {
    precondition(start >= 0 && start + count <= order.count)
    unsafe order.withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress, count > 0 else { return }
      unsafe temper_scatter_rows(table.pointer, batch.pointer, base + start, count, rowBytes)
    }
  }
}

extension Tensor {
  /// A number into a tensor with one real element.
  func set(_ value: Double) {
    precondition(count == 1)
    if dtype == .float64 {
      unsafe pointer.storeBytes(of: value, as: Double.self)
    } else {
      unsafe pointer.storeBytes(of: Float(value), as: Float.self)
    }
  }

  /// self <- self + share * (other - self), element by element; both dense and of one real type and shape.
  func move(toward other: Tensor, by share: Double) {
    precondition(dtype == other.dtype && shape == other.shape && isDense && other.isDense && dtype.isFloating)
    if dtype == .float64 { move(Double.self, other, share) } else { move(Float.self, other, Float(share)) }
  }

  private func move<T: BinaryFloatingPoint & SIMDScalar>(_ type: T.Type, _ other: Tensor, _ share: T) {
    let (to, from) = unsafe (pointer.assumingMemoryBound(to: T.self), other.pointer.assumingMemoryBound(to: T.self))
    let lanes = 16
    let whole = count / lanes * lanes
    for at in stride(from: 0, to: whole, by: lanes) {
      let (old, new) = unsafe (
        UnsafeRawPointer(to + at).loadUnaligned(as: SIMD16<T>.self),
        UnsafeRawPointer(from + at).loadUnaligned(as: SIMD16<T>.self)
      )
      unsafe UnsafeMutableRawPointer(to + at).storeBytes(of: old + share * (new - old), as: SIMD16<T>.self)
    }
    for at in whole..<count { unsafe to[at] += share * (from[at] - to[at]) }
  }

  /// 0 where a mask of the same type and number of elements is 0; both dense.
  package func keep(where mask: Tensor) { replace(by: nil, where: mask, isSet: false) }

  /// The elements of a source, 0 without one, where a mask is not 0, or is 0; all dense, of one type and size.
  package func replace(by source: Tensor?, where mask: Tensor, isSet: Bool) {
    if dtype == .float64 { replace(Double.self, source, mask, isSet) } else { replace(Float.self, source, mask, isSet) }
  }

  private func replace<T: BinaryFloatingPoint>(_: T.Type, _ source: Tensor?, _ mask: Tensor, _ isSet: Bool) {
    for other in [mask] + (source.map { [$0] } ?? []) {
      precondition(dtype == other.dtype && count == other.count && other.isDense)
    }
    precondition(dtype.isFloating && isDense)
    let to = unsafe pointer.assumingMemoryBound(to: T.self)
    let marks = unsafe mask.pointer.assumingMemoryBound(to: T.self)
    guard let source else {
      for index in 0..<count { unsafe to[index] = (marks[index] != 0) == isSet ? 0 : to[index] }
      return
    }
    let from = unsafe source.pointer.assumingMemoryBound(to: T.self)
    for index in 0..<count { unsafe to[index] = (marks[index] != 0) == isSet ? from[index] : to[index] }
  }

  /// The number in a tensor with one real element.
  var number: Double {
    precondition(count == 1)
    return dtype == .float64 ? unsafe pointer.load(as: Double.self) : Double(unsafe pointer.load(as: Float.self))
  }

  /// Row-major position of the first NaN or infinity of a dense real tensor.
  var firstNotFinite: Int? {
    precondition(isDense && dtype.isFloating)
    let position =
      dtype == .float64
      ? unsafe temper_first_not_finite_f64(pointer.assumingMemoryBound(to: Double.self), count)
      : unsafe temper_first_not_finite_f32(pointer.assumingMemoryBound(to: Float.self), count)
    return position == count ? nil : position
  }
}
