import TemperCore
import TemperKernels
import TemperNetworks

/// Weights as the blocks of a type of GGUF files, row after row, as they stand in a file.
package struct GGUFBlocks: WeightForm {
  static let formName = "gguf"

  package let shape: Shape
  package let type: GGUFType
  /// uint8
  package let codes: Tensor

  package var bits: Double { type.bits }
  package var byteCount: Int { codes.byteCount }

  private init(shape: Shape, _ type: GGUFType, codes: Tensor) throws(TemperError) {
    let blocks = shape.count / type.block
    guard type.copied == nil, PackedMatrix.columns(of: shape) % type.block == 0 else {
      throw TemperError(.invalidShape, "\(type.name) has no blocks for rows of \(PackedMatrix.columns(of: shape)).")
    }
    guard codes.dtype == .uint8, codes.shape == [blocks * type.byteCount] else {
      throw TemperError(
        .invalidShape, "\(blocks) blocks of \(type.name) are \(blocks * type.byteCount) bytes; \(codes.shape) came.")
    }
    (self.shape, self.type, self.codes) = (shape, type, try codes.dense())
  }

  /// Blocks of least squared error. `numbers` gives a range of rows: not all need be in memory at a time.
  init(
    shape: Shape, _ type: GGUFType, workers: Workers,
    _ numbers: (Range<Int>) throws(TemperError) -> GGUFNumbers
  ) throws(TemperError) {
    let (rows, columns) = (PackedMatrix.rows(of: shape), PackedMatrix.columns(of: shape))
    let width = columns / type.block * type.byteCount
    let bytes = try Tensor(zeros: [rows * width], .uint8)
    for part in GGUFBlocks.parts(rows, columns) {
      let given = try numbers(part)
      try bytes.slice((part.lowerBound * width)..<(part.upperBound * width)).assign(
        from: try type.encode(given.tensor, scales: given.scales, offsets: given.offsets, workers: workers))
    }
    try self.init(shape: shape, type, codes: bytes)
  }

  private static func parts(_ rows: Int, _ columns: Int) -> [Range<Int>] {
    let step = max(1, (1 << 18) / max(columns, 1))
    return stride(from: 0, to: rows, by: step).map { $0..<min($0 + step, rows) }
  }

  @unsafe package func decode(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    guard let kernel = unsafe temper_gguf_find(Int32(type.number)) else { return }
    let blocks = columns / type.block
    unsafe temper_gguf_decode(
      kernel, codes.pointer.assumingMemoryBound(to: UInt8.self) + rows.lowerBound * blocks * type.byteCount,
      Int64(rows.count * blocks), target)
    withExtendedLifetime(codes) {}
  }

  package var storedDescription: [JSON.Member] {
    [
      JSON.Member("form", .text(Self.formName)),
      JSON.Member("shape", .array(shape.sizes.map { .integer($0) })), JSON.Member("type", .text(type.name)),
    ]
  }

  package func storedTensors(workers: Workers) throws(TemperError) -> [(suffix: String, tensor: Tensor)] {
    [(".codes", codes)]
  }

  init(stored: StoredWeight) throws(TemperError) {
    try self.init(
      shape: try stored.shape, try GGUFType(named: try stored.text("type")), codes: try stored.tensor(".codes").copy())
    for part in GGUFBlocks.parts(rows, columns) {
      let values = try Tensor(zeros: [part.count * columns], .float32)
      unsafe decode(part, into: values.pointer.assumingMemoryBound(to: Float.self))
      guard try values.array(of: Float.self).allSatisfy(\.isFinite) else {
        throw TemperError(.notFinite, "Its weights are not all finite.")
      }
    }
  }
}
