import TemperCore
import TemperGraph
import TemperKernels

/// What a layer does around the values that its weight's form holds (`QuantizedMatrix`).
package struct Adjustment: Sendable {
  /// s: by what each input is multiplied first, (columns,) float32.
  package var inputScales: Tensor?
  package var rotation: Rotation?
  /// What inputs are rounded to, after scales and rotation.
  package var inputGrid: InputGrid?
  /// D (rank, columns) and U (rows, rank), float32.
  package var lowRank: (down: Tensor, up: Tensor)?
  /// o, (rows,) float32.
  package var offsets: Tensor?

  package init(
    inputScales: Tensor? = nil, rotation: Rotation? = nil, inputGrid: InputGrid? = nil,
    lowRank: (down: Tensor, up: Tensor)? = nil, offsets: Tensor? = nil
  ) {
    (self.inputScales, self.rotation, self.inputGrid) = (inputScales, rotation, inputGrid)
    (self.lowRank, self.offsets) = (lowRank, offsets)
  }

  package var isNone: Bool {
    inputScales == nil && rotation == nil && inputGrid == nil && lowRank == nil && offsets == nil
  }

  package var byteCount: Int {
    var bytes = (inputScales?.byteCount ?? 0) + (offsets?.byteCount ?? 0) + (rotation == nil ? 0 : 8)
    bytes += inputGrid == nil ? 0 : 6
    if let lowRank { bytes += lowRank.down.byteCount + lowRank.up.byteCount }
    return bytes
  }

  func check(rows: Int, columns: Int) throws(TemperError) {
    func check(_ tensor: Tensor?, _ shape: Shape, _ name: String) throws(TemperError) {
      guard let tensor else { return }
      guard tensor.dtype == .float32, tensor.shape == shape, tensor.isDense else {
        throw TemperError(
          .invalidShape,
          "\(name) must be float32 of shape \(shape); \(tensor.dtype.name) of shape \(tensor.shape) came.")
      }
      if let bad = try tensor.array(of: Float.self).first(where: { !$0.isFinite }) {
        throw TemperError(.notFinite, "\(name) must be finite; \(bad) came.")
      }
    }
    try check(inputScales, [columns], "Input scales")
    try check(offsets, [rows], "Offsets")
    if let lowRank {
      let rank = lowRank.up.shape.rank == 2 ? lowRank.up.shape[1] : 0
      try check(lowRank.down, [rank, columns], "The first factor of low rank")
      try check(lowRank.up, [rows, rank], "The second factor of low rank")
    }
    if let rotation, rotation.columns != columns {
      throw TemperError(.invalidShape, "The rotation is of \(rotation.columns) inputs; the weight has \(columns).")
    }
  }

  /// Q(R (s ⊙ x)), for x (m, columns).
  func applied(to x: Tensor, workers: Workers) throws(TemperError) -> Tensor {
    if inputScales == nil && rotation == nil && inputGrid == nil { return x }
    let result = try x.copy()
    let (count, columns) = (x.shape[0], x.shape[1])
    func each<T: BinaryFloatingPoint>(_ type: T.Type) {
      let values = unsafe result.pointer.assumingMemoryBound(to: T.self)
      let scales = unsafe inputScales?.pointer.assumingMemoryBound(to: Float.self)
      workers.runRows(count, columns) { begin, end in
        for row in begin..<end {
          let start = unsafe values + row * columns
          if let scales = unsafe scales { for i in 0..<columns { unsafe start[i] *= T(scales[i]) } }
          unsafe rotation?.rotate(start)
          if let inputGrid { for i in 0..<columns { unsafe start[i] = inputGrid.rounded(start[i]) } }
        }
      }
    }
    if x.dtype == .float64 { each(Double.self) } else { each(Float.self) }
    withExtendedLifetime((self, result)) {}
    return result
  }

  /// A row w of the form becomes wᵀ R s.
  @unsafe func undo(_ row: UnsafeMutablePointer<Float>, _ columns: Int) {
    unsafe rotation?.rotateBack(row)
    if let scales = unsafe inputScales?.pointer.assumingMemoryBound(to: Float.self) {
      for i in 0..<columns { unsafe row[i] *= scales[i] }
    }
  }

  /// weights += U D, of the rows named.
  func addLowRank(to weights: Tensor, rows: [Int]? = nil, workers: Workers) throws(TemperError) {
    guard let lowRank else { return }
    var up = lowRank.up
    if let rows {
      let rank = up.shape[1]
      let values = try up.array(of: Float.self)
      up = try Tensor(rows.flatMap { values[($0 * rank)..<($0 * rank + rank)] }, shape: [rows.count, rank])
    }
    try MatrixProduct.run(up, lowRank.down, into: weights, accumulate: true, workers: workers)
  }

  /// y += U (D x) + o.
  func finish(_ y: Tensor, of x: Tensor, workers: Workers) throws(TemperError) {
    if let lowRank {
      let down = try lowRank.down.copy(as: x.dtype)
      let up = try lowRank.up.copy(as: x.dtype)
      let inner = try Tensor(zeros: [x.shape[0], down.shape[0]], x.dtype)
      try MatrixProduct.run(x, try down.permuted([1, 0]), into: inner, workers: workers)
      try MatrixProduct.run(inner, try up.permuted([1, 0]), into: y, accumulate: true, workers: workers)
    }
    guard let offsets else { return }
    let (count, rows) = (y.shape[0], y.shape[1])
    func each<T: BinaryFloatingPoint>(_ type: T.Type) {
      let values = unsafe y.pointer.assumingMemoryBound(to: T.self)
      let added = unsafe offsets.pointer.assumingMemoryBound(to: Float.self)
      for row in 0..<count {
        for i in 0..<rows { unsafe values[row * rows + i] += T(added[i]) }
      }
    }
    if y.dtype == .float64 { each(Double.self) } else { each(Float.self) }
    withExtendedLifetime((self, y)) {}
  }
}

/// Evenly spaced levels for inputs, one step for all: step · (code − zero), codes 0 to 2^bits − 1.
package struct InputGrid: Sendable, Hashable {
  package let bits: Int
  package let step: Float
  package let zero: UInt16

  /// From `minimum` to `maximum`, zero included.
  init(bits: Int, _ minimum: Double, _ maximum: Double) throws(TemperError) {
    let (low, high) = (min(minimum, 0), max(maximum, 0))
    let highest = Double((1 << bits) - 1)
    let step = max((high - low) / highest, Double(Float.leastNormalMagnitude))
    try self.init(bits: bits, step: Float(step), zero: Int(min((-low / step).rounded(), highest)))
  }

  init(bits: Int, step: Float, zero: Int) throws(TemperError) {
    guard (1...16).contains(bits), step.isNormal, step > 0, step < 0x1p100, zero >= 0, zero < 1 << bits else {
      throw TemperError(
        .outOfRange, "Inputs are rounded to 1 to 16 bits, with a positive step and a zero point among the codes.")
    }
    (self.bits, self.step, self.zero) = (bits, step, UInt16(zero))
  }

  /// The same of an expression.
  func rounded(_ x: Expression) -> Expression {
    let code = clamp(round(x / Double(step)) + Double(zero), 0, Double((1 << bits) - 1))
    return (code - Double(zero)) * Double(step)
  }

  func rounded<T: BinaryFloatingPoint>(_ x: T) -> T {
    let highest = T((1 << bits) - 1)
    let code = (x / T(step)).rounded(.toNearestOrEven) + T(zero)
    return T(step) * (min(max(code, 0), highest) - T(zero))
  }
}

/// A random rotation of n inputs: signs and Hadamard matrices of the largest power of two that n holds, over the first
/// and then over the last inputs (the two overlap where n is no power of two).
package struct Rotation: Sendable, Hashable {
  package let columns: Int
  package let seed: UInt64
  /// ±1, for each of the two passes.
  private let signs: [Float]
  private let block: Int

  package init(columns: Int, seed: UInt64) {
    (self.columns, self.seed) = (columns, seed)
    block = columns == 0 ? 1 : 1 << (Int.bitWidth - 1 - columns.leadingZeroBitCount)
    var random = Random(seed: seed, stream: "rotation")
    signs = (0..<(2 * block)).map { _ in random.nextUInt32() & 1 == 0 ? 1 : -1 }
  }

  private var isWhole: Bool { block == columns }

  /// x becomes R x.
  @unsafe func rotate<T: BinaryFloatingPoint>(_ x: UnsafeMutablePointer<T>) {
    guard columns > 1 else { return }
    unsafe sign(x, 0)
    unsafe transform(x)
    if isWhole { return }
    let last = unsafe x + (columns - block)
    unsafe sign(last, block)
    unsafe transform(last)
  }

  /// x becomes Rᵀ x.
  @unsafe func rotateBack<T: BinaryFloatingPoint>(_ x: UnsafeMutablePointer<T>) {
    guard columns > 1 else { return }
    if !isWhole {
      let last = unsafe x + (columns - block)
      unsafe transform(last)
      unsafe sign(last, block)
    }
    unsafe transform(x)
    unsafe sign(x, 0)
  }

  @unsafe private func sign<T: BinaryFloatingPoint>(_ x: UnsafeMutablePointer<T>, _ first: Int) {
    for i in 0..<block { unsafe x[i] *= T(signs[first + i]) }
  }

  /// The Walsh-Hadamard transform, which is its own inverse.
  @unsafe private func transform<T: BinaryFloatingPoint>(_ x: UnsafeMutablePointer<T>) {
    var half = 1
    while half < block {
      for start in stride(from: 0, to: block, by: 2 * half) {
        for i in start..<(start + half) {
          let (a, b) = unsafe (x[i], x[i + half])
          unsafe (x[i], x[i + half]) = (a + b, a - b)
        }
      }
      half *= 2
    }
    let scale = T(1 / Double(block).squareRoot())
    for i in 0..<block { unsafe x[i] *= scale }
  }
}
