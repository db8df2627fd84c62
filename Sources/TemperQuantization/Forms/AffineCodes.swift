import TemperCore
import TemperNetworks

/// scale · code + offset, with any number as the offset of a group: grids that begin where the values do.
package struct AffineCodes: WeightForm {
  static let formName = "affine"

  /// Levels 0, 1, …, 2^b − 1, without zero points.
  package let codes: PackedMatrix
  /// Shaped like the scales, float32.
  package let offsets: Tensor

  package var shape: Shape { codes.shape }
  package var bits: Double { codes.bits }
  package var byteCount: Int { codes.byteCount + offsets.byteCount }

  init(_ codes: PackedMatrix, offsets: Tensor) throws(TemperError) {
    guard offsets.dtype == .float32, offsets.shape == codes.scales.shape, codes.grid.levels == .unsigned else {
      throw TemperError(
        .invalidShape,
        "Offsets must be float32 of shape \(codes.scales.shape), for unsigned levels; \(offsets.dtype.name) of shape \(offsets.shape) came."
      )
    }
    guard try offsets.array(of: Float.self).allSatisfy({ abs($0) <= Weight.largest }) else {
      throw TemperError(.notFinite, "Offsets must be finite and at most 2^127 in size.")
    }
    (self.codes, self.offsets) = (codes, try offsets.dense())
  }

  @unsafe package func decode(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    unsafe codes.decode(rows, into: target)
    let (size, groups) = (codes.groupSize, offsets.shape[1])
    let values = unsafe offsets.pointer.assumingMemoryBound(to: Float.self)
    for row in rows {
      let start = unsafe target + (row - rows.lowerBound) * columns
      let first = offsets.shape[0] == 1 ? 0 : row * groups
      for group in 0..<groups {
        for column in (group * size)..<min(columns, (group + 1) * size) {
          unsafe start[column] += values[first + group]
        }
      }
    }
    withExtendedLifetime(offsets) {}
  }

  /// x (scale · code)ᵀ + (sums of x over groups) offsetsᵀ.
  package func multiply(_ x: Tensor, into y: Tensor, workers: Workers) throws(TemperError) {
    try codes.multiply(x, into: y, workers: workers)
    let (size, groups) = (codes.groupSize, offsets.shape[1])
    guard columns > 0 else { return }
    let sums = try Tensor(zeros: [x.shape[0], groups], x.dtype)
    func add<T: BinaryFloatingPoint>(_ type: T.Type) {
      let (from, to) = unsafe (x.pointer.assumingMemoryBound(to: T.self), sums.pointer.assumingMemoryBound(to: T.self))
      workers.runRows(x.shape[0], columns) { begin, end in
        for row in begin..<end {
          for column in 0..<columns { unsafe to[row * groups + column / size] += from[row * columns + column] }
        }
      }
    }
    if x.dtype == .float64 { add(Double.self) } else { add(Float.self) }
    let weights = try offsets.copy(as: x.dtype).broadcast(to: [rows, groups])
    try MatrixProduct.run(sums, try weights.permuted([1, 0]), into: y, accumulate: true, workers: workers)
  }

  package var storedDescription: [JSON.Member] { [JSON.Member("form", .text(Self.formName))] + codes.storedDescription }

  package func storedTensors(workers: Workers) throws(TemperError) -> [(suffix: String, tensor: Tensor)] {
    try codes.storedTensors(workers: workers) + [(".offsets", offsets)]
  }

  init(stored: StoredWeight, workers: Workers) throws(TemperError) {
    try self.init(try PackedMatrix(stored: stored, workers: workers), offsets: try stored.tensor(".offsets").copy())
  }
}

extension AffineCodes {
  /// Each weight to the nearest of scale · code + offset.
  init(
    nearest weight: Weight, bits: Int, groupSize: Int, scales: [Float], offsets: [Float], workers: Workers
  ) throws(TemperError) {
    let groups = PackedMatrix.groups(columns: weight.columns, groupSize: groupSize)
    let shared = scales.count == groups && weight.rows != 1
    let highest = Float((1 << bits) - 1)
    let values = try weight.values.array(of: Float.self)
    var codes = [UInt8](repeating: 0, count: values.count)
    for row in 0..<weight.rows {
      for column in 0..<weight.columns {
        let place = (shared ? 0 : row * groups) + column / groupSize
        let level = ((values[row * weight.columns + column] - offsets[place]) / scales[place]).rounded(.toNearestOrEven)
        codes[row * weight.columns + column] = UInt8(max(0, min(level, highest)))
      }
    }
    try self.init(
      weight, bits: bits, groupSize: groupSize, scales: scales, offsets: offsets, codes: codes, workers: workers)
  }

  /// Codes one a byte.
  init(
    _ weight: Weight, bits: Int, groupSize: Int, scales: [Float], offsets: [Float], codes: [UInt8], workers: Workers
  ) throws(TemperError) {
    let groups = PackedMatrix.groups(columns: weight.columns, groupSize: groupSize)
    let shape: Shape = [scales.count == groups && weight.rows != 1 ? 1 : weight.rows, groups]
    try self.init(
      try PackedMatrix(
        shape: weight.shape, grid: try Grid(.unsigned, bits: bits), groupSize: groupSize,
        scales: try Tensor(scales, shape: shape), zeros: nil,
        looseCodes: try Tensor(codes, shape: [weight.rows, weight.columns]), workers: workers),
      offsets: try Tensor(offsets, shape: shape))
  }
}
