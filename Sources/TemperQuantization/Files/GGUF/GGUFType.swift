import TemperCore
import TemperKernels

/// How the weights of a tensor are stored in a GGUF file.
package struct GGUFType: Sendable, Hashable {
  /// In files.
  package let number: Int
  package let name: String
  /// Neighbours of a row that are stored together, and the bytes that they take.
  package let block: Int, byteCount: Int
  /// Neighbours that share a scale, and perhaps an offset.
  package let group: Int, hasOffsets: Bool
  /// Weights up to this size can be written.
  let largest: Float
  /// What whole numbers and doubles are read as; all else is decoded to float32.
  let copied: DType?
  /// Narrow whole numbers are read and not written.
  private var isNarrow: Bool { copied.map { $0.byteCount > byteCount } ?? false }

  private init(_ kernel: temper_gguf_type) {
    (number, name) = unsafe (Int(kernel.number), unsafe String(cString: kernel.name))
    (block, byteCount, group) = unsafe (Int(kernel.block), Int(kernel.bytes), Int(kernel.group))
    (hasOffsets, largest, copied) = unsafe (kernel.has_offsets != 0, kernel.largest, nil)
  }

  private init(_ number: Int, _ name: String, _ dtype: DType, byteCount: Int? = nil) {
    (self.number, self.name, block, self.byteCount) = (number, name, 1, byteCount ?? dtype.byteCount)
    (group, hasOffsets, largest, copied) = (1, false, .infinity, dtype)
  }

  package static let all: [GGUFType] = {
    var types: [GGUFType] = []
    while let type = unsafe temper_gguf_at(Int32(types.count)) { unsafe types.append(GGUFType(unsafe type.pointee)) }
    return types + [
      GGUFType(26, "I32", .int32), GGUFType(27, "I64", .int64), GGUFType(28, "F64", .float64),
      GGUFType(24, "I8", .int32, byteCount: 1), GGUFType(25, "I16", .int32, byteCount: 2),
    ]
  }()

  package static let float32 = all[0]

  /// Of one weight without scales, as the name has it: log2 3 for ternary digits.
  var bits: Double {
    if name.hasPrefix("TQ") { return 1.584962500721156 }
    return block == 1 ? 8 * Double(byteCount) : Double(name.first(where: \.isWholeNumber)?.wholeNumberValue ?? 0)
  }

  package static func find(number: Int) -> GGUFType? { all.first { $0.number == number } }

  /// The type of this name, in capitals or not.
  package init(named name: String) throws(TemperError) {
    guard let type = GGUFType.all.first(where: { $0.name == name.uppercased() }) else {
      let names = GGUFType.all.map(\.name).joined(separator: ", ")
      throw TemperError(.unknownName, "GGUF files have no type \"\(name)\"; there are \(names).")
    }
    self = type
  }

  /// For numbers that are stored as they are.
  init(of dtype: DType) {
    self = GGUFType.all.first { $0.copied == dtype } ?? GGUFType.float32
  }

  /// Bytes of a tensor of this shape, whose rows must be whole blocks.
  func byteCount(of shape: Shape) -> Int? {
    shape.last % block == 0 && shape.rank > 0 || block == 1 ? shape.count / block * byteCount : nil
  }
}

extension GGUFType {
  /// The blocks of dense float32 `weights`, uint8. `scales`, `offsets`: for each group, to be tried beside the search.
  func encode(
    _ weights: Tensor, scales: Tensor? = nil, offsets: Tensor? = nil, workers: Workers
  ) throws(TemperError) -> Tensor {
    guard !isNarrow else { throw TemperError(.unsupported, "\(name) is read and not written; take I32.") }
    if copied != nil { return weights }
    let values = try (weights.dtype == .float32 ? weights : weights.copy(as: .float32)).dense()
    try checkSizes(values)
    let (blocks, groups) = (values.count / block, block / group)
    let bytes = try Tensor(zeros: [blocks * byteCount], .uint8)
    run(blocks, workers) { first, count in
      guard let type = unsafe temper_gguf_find(Int32(number)) else { return }
      let scales = unsafe scales?.pointer.assumingMemoryBound(to: Float.self)
      let offsets = unsafe offsets?.pointer.assumingMemoryBound(to: Float.self)
      unsafe temper_gguf_encode(
        type, values.pointer.assumingMemoryBound(to: Float.self) + first * block, Int64(count),
        scales.map { unsafe $0 + first * groups }, offsets.map { unsafe $0 + first * groups },
        bytes.pointer.assumingMemoryBound(to: UInt8.self) + first * byteCount)
    }
    return bytes
  }

  /// The weights of whole blocks, float32 or the type that is copied.
  func decode(_ bytes: Tensor, shape: Shape, workers: Workers) throws(TemperError) -> Tensor {
    if isNarrow {
      let bytes = try bytes.array(of: UInt8.self)
      let numbers = (0..<shape.count).map { index -> Int32 in
        byteCount == 1
          ? Int32(Int8(bitPattern: bytes[index]))
          : Int32(Int16(bitPattern: UInt16(bytes[2 * index]) | UInt16(bytes[2 * index + 1]) << 8))
      }
      return try Tensor(numbers, shape: shape)
    }
    if let copied {
      return try Tensor(
        storage: bytes.storage, byteOffset: bytes.byteOffset, dtype: copied, shape: shape, strides: shape.denseStrides)
    }
    let weights = try Tensor(zeros: shape, .float32)
    run(weights.count / block, workers) { first, count in
      guard let type = unsafe temper_gguf_find(Int32(number)) else { return }
      unsafe temper_gguf_decode(
        type, bytes.pointer.assumingMemoryBound(to: UInt8.self) + first * byteCount, Int64(count),
        weights.pointer.assumingMemoryBound(to: Float.self) + first * block)
    }
    return weights
  }

  private func run(_ blocks: Int, _ workers: Workers, _ body: (_ first: Int, _ count: Int) -> Void) {
    let step = max(1, (1 << 14) / block)
    workers.run((blocks + step - 1) / step) { piece, _ in
      body(piece * step, min(step, blocks - piece * step))
    }
  }

  func checkSizes(_ values: Tensor) throws(TemperError) {
    let pointer = unsafe values.pointer.assumingMemoryBound(to: Float.self)
    // float32 carries everything; the others are made of finite numbers.
    guard self != GGUFType.float32 else { return }
    for index in 0..<values.count where !(unsafe abs(pointer[index]) <= largest) {
      throw TemperError(
        .outOfRange,
        "\(name) holds finite numbers up to \(largest) in size; element \(index) is \(unsafe pointer[index]).")
    }
  }
}
