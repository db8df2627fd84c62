import TemperCore
import TemperNetworks

/// A weight matrix in few bits: a form that holds values, and what the layer does around them.
///
///     y = Form Q(R (s ⊙ x)) + U (D x) + o
///
/// s scales the inputs (activation-aware methods), R rotates them (Hadamard), Q rounds them to few bits, U D is of low
/// rank, o corrects the mean.
package struct QuantizedMatrix: Sendable {
  package let form: any WeightForm
  package var adjustment = Adjustment()

  package var shape: Shape { form.shape }
  package var rows: Int { form.rows }
  package var columns: Int { form.columns }
  package var bits: Double { form.bits }
  package var byteCount: Int { form.byteCount + adjustment.byteCount }

  /// The codes, if there is nothing else: one code a weight, products straight from them, and formats of other programs
  /// that can hold them.
  package var packed: PackedMatrix? { adjustment.isNone ? form as? PackedMatrix : nil }

  package init(_ form: any WeightForm, _ adjustment: Adjustment = Adjustment()) throws(TemperError) {
    try adjustment.check(rows: form.rows, columns: form.columns)
    (self.form, self.adjustment) = (form, adjustment)
  }

  /// The weights that it stands for, float32 of the weight's shape; without the offsets o.
  package func dequantize(workers: Workers) throws(TemperError) -> Tensor {
    let weights = try Tensor(zeros: shape, .float32)
    try dequantize(into: weights, workers: workers)
    return weights
  }

  /// The same into dense float32 or float64 memory of the weight's shape.
  package func dequantize(into target: Tensor, workers: Workers) throws(TemperError) {
    guard target.shape == shape, target.dtype.isFloating, target.isDense, !target.isReadOnly else {
      throw TemperError(
        .invalidShape,
        "The weights go into a dense float array of shape \(shape); \(target.dtype.name) of shape \(target.shape) came."
      )
    }
    let weights = target.dtype == .float32 ? target : try Tensor(zeros: shape, .float32)
    decode(0..<rows, into: weights, workers: workers)
    try adjustment.addLowRank(to: try weights.reshaped([rows, columns]), workers: workers)
    if target.dtype != .float32 { try target.assign(from: weights) }
  }

  /// Some rows, (rows, columns) float32.
  func dequantize(rows: Range<Int>, workers: Workers) throws(TemperError) -> Tensor {
    let weights = try Tensor(zeros: [rows.count, columns], .float32)
    decode(rows, into: weights, workers: workers)
    try adjustment.addLowRank(to: weights, rows: Array(rows), workers: workers)
    return weights
  }

  /// Rows of Form R s.
  private func decode(_ range: Range<Int>, into weights: Tensor, workers: Workers) {
    let target = unsafe weights.pointer.assumingMemoryBound(to: Float.self)
    workers.runRows(range.count, columns) { begin, end in
      let rows = (range.lowerBound + begin)..<(range.lowerBound + end)
      unsafe form.decode(rows, into: target + begin * columns)
      for row in begin..<end { unsafe adjustment.undo(target + row * columns, columns) }
    }
    withExtendedLifetime(weights) {}
  }

  /// y = x Wᵀ + o: x (…, columns) to y (…, rows), both dense float32 or both dense float64. The weights enter with the
  /// values of `dequantize`, up to rounding where there is an adjustment.
  package func matmul(
    _ x: Tensor, into y: Tensor, activations: InputPrecision = .float, workers: Workers
  ) throws(TemperError) {
    let lead = Shape(Array(x.shape.sizes.dropLast()))
    guard x.shape.rank >= 1, x.shape.last == columns, y.shape == Shape(lead.sizes + [rows]) else {
      throw TemperError(
        .invalidShape,
        "A packed weight \(Shape([rows, columns])) takes (…, \(columns)) to (…, \(rows)); \(x.shape) and \(y.shape) came."
      )
    }
    guard x.dtype.isFloating, y.dtype == x.dtype, x.isDense, y.isDense, !y.isReadOnly else {
      throw TemperError(
        .invalidType, "Products take dense float32 or float64 arrays; \(x.dtype.name) to \(y.dtype.name) came.")
    }
    let inputs = try x.reshaped([lead.count, columns])
    let outputs = try y.reshaped([lead.count, rows])
    let applied = try adjustment.applied(to: inputs, workers: workers)
    switch activations {
    case .float: try form.multiply(applied, into: outputs, workers: workers)
    case .int8: try multiplyInt8(applied, into: outputs, workers: workers)
    }
    try adjustment.finish(outputs, of: inputs, workers: workers)
  }

  private func multiplyInt8(_ x: Tensor, into y: Tensor, workers: Workers) throws(TemperError) {
    guard let codes = form as? PackedMatrix else {
      throw TemperError(
        .unsupported,
        "Products in integers need one code for each weight; this matrix has another form. Use activations \"float\".")
    }
    if x.dtype == .float32 { return try codes.multiplyInt8(x, into: y, workers: workers) }
    let narrow = try Tensor(zeros: y.shape, .float32)
    try codes.multiplyInt8(try x.copy(as: .float32), into: narrow, workers: workers)
    try y.assign(from: narrow)
  }

  /// y = x Wᵀ + o: x (…, columns), float32 or float64, to (…, rows) of the same type.
  package func matmul(
    _ x: Tensor, activations: InputPrecision = .float, workers: Workers
  ) throws(TemperError) -> Tensor {
    guard x.shape.rank >= 1 else {
      throw TemperError(.invalidShape, "A packed weight takes (…, \(columns)); a single number came.")
    }
    let y = try Tensor(zeros: Shape(x.shape.sizes.dropLast() + [rows]), x.dtype)
    try matmul(try x.dense(), into: y, activations: activations, workers: workers)
    return y
  }

  /// The rows that dense int32 `indices` (…) name, into dense float32 or float64 `target` (…, columns).
  func lookUp(_ indices: Tensor, into target: Tensor, workers: Workers) throws(TemperError) {
    let wanted = try indices.array(of: Int32.self).map(Int.init)
    if let wrong = wanted.first(where: { !(0..<rows).contains($0) }) {
      throw TemperError(.outOfRange, "Indices must be from 0 to \(rows - 1); \(wrong) came.")
    }
    let decoded = target.dtype == .float32 ? target : try Tensor(zeros: target.shape, .float32)
    let start = unsafe decoded.pointer.assumingMemoryBound(to: Float.self)
    workers.runRows(wanted.count, columns) { begin, end in
      for place in begin..<end {
        unsafe form.decode(wanted[place]..<(wanted[place] + 1), into: start + place * columns)
        unsafe adjustment.undo(start + place * columns, columns)
      }
    }
    try adjustment.addLowRank(to: try decoded.reshaped([wanted.count, columns]), rows: wanted, workers: workers)
    if target.dtype != .float32 { try target.assign(from: decoded) }
  }
}
