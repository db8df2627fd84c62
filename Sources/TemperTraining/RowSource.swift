import TemperCore
import TemperNetworks

/// An array (N, …) with a row for each sample whose rows are read when they are needed.
package protocol RowSource: AnyObject, Sendable {
  /// (N, …)
  var shape: Shape { get }
  var dtype: DType { get }
  /// Writes the rows of order[start], order[start + 1], … into `rows`, dense, of this type, one for each of its rows. Ids
  /// come in any order, and may come several times.
  func read(_ order: [Int32], from start: Int, into rows: Tensor) throws(TemperError)
}

/// Rows of an array in memory, or in a mapped file, of which a converted copy would be large.
final class ArrayRows: RowSource {
  private let array: Tensor
  private let workers: Workers

  init(_ array: Tensor, _ workers: Workers) { (self.array, self.workers) = (array, workers) }

  var shape: Shape { array.shape }
  var dtype: DType { array.dtype }

  func read(_ order: [Int32], from start: Int, into rows: Tensor) throws(TemperError) {
    if array.isDense { return Rows(table: array, batch: rows).gather(order, from: start, workers) }
    for place in 0..<rows.shape[0] {
      let id = Int(order[start + place])
      try rows.slice(place..<place + 1).assign(from: array.slice(id..<id + 1))
    }
  }
}

/// Rows of a source as a model takes them: of its type, token ids below its limit, finite.
package final class CheckedRows {
  /// (N, …)
  let shape: Shape
  /// What the model's plans read.
  let dtype: DType
  private let source: any RowSource
  private let model: Model
  private let role: String
  private let allowsNonFinite: Bool
  /// Of the source's own type; made anew where a batch has another size.
  private var raw: Tensor?

  init(_ source: any RowSource, model: Model, role: String, allowsNonFinite: Bool) throws(TemperError) {
    (shape, self.source, self.model) = (source.shape, source, model)
    (self.role, self.allowsNonFinite) = (role, allowsNonFinite)
    dtype = model.input.kind == .index ? .int32 : model.dtype
    // Of no rows shape and type can be checked.
    try model.checkInput(try Tensor(zeros: Shape([0] + shape.sizes.dropFirst()), source.dtype))
  }

  /// One row for each of `batch`, dense, of the type `dtype`.
  func read(_ order: [Int32], from start: Int, into batch: Tensor) throws(TemperError) {
    if source.dtype == dtype {
      try source.read(order, from: start, into: batch)
      try check(batch)
    } else {
      if raw?.shape != batch.shape { raw = try Tensor(zeros: batch.shape, source.dtype) }
      guard let raw else { return }
      try source.read(order, from: start, into: raw)
      try check(raw)
      try batch.assign(from: raw)
    }
    guard batch.dtype.isFloating, !allowsNonFinite, let position = batch.firstNotFinite else { return }
    let width = max(batch.count / batch.shape[0], 1)
    throw TemperError(
      .notFinite,
      "In the \(role): x is NaN or infinite at sample \(order[start + position / width]), element \(position % width); clean the data, or allow it by the option."
    )
  }

  private func check(_ batch: Tensor) throws(TemperError) {
    do throws(TemperError) { try model.checkInput(batch) } catch {
      throw TemperError(error.code, "In the \(role): \(error.message)")
    }
  }

  /// All of them in order, in parts of `size` that one array takes in turn.
  func forEachPart(of size: Int, _ body: (Range<Int>, Tensor) throws(TemperError) -> Void) throws(TemperError) {
    var part: Tensor?
    for first in stride(from: 0, to: shape[0], by: size) {
      let range = first..<min(first + size, shape[0])
      if part?.shape[0] != range.count {
        part = try Tensor(zeros: Shape([range.count] + shape.sizes.dropFirst()), dtype)
      }
      guard let part else { return }
      try read(range.map(Int32.init), from: 0, into: part)
      try body(range, part)
    }
  }
}
