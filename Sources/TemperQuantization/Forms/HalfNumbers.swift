import TemperCore
import TemperNetworks

/// Weights as 16-bit floating-point numbers, without scales.
package struct HalfNumbers: WeightForm {
  static let formName = "half"

  package enum Format: String, Sendable { case float16, bfloat16 }

  package let shape: Shape
  package let format: Format
  /// The bits of the numbers, little-endian, uint8 (rows, 2 · columns).
  package let codes: Tensor

  package var bits: Double { 16 }
  package var byteCount: Int { codes.byteCount }

  init(shape: Shape, _ format: Format, codes: Tensor) throws(TemperError) {
    let expected: Shape = [PackedMatrix.rows(of: shape), 2 * PackedMatrix.columns(of: shape)]
    guard codes.dtype == .uint8, codes.shape == expected else {
      throw TemperError(
        .invalidShape,
        "16-bit weights must be uint8 of shape \(expected); \(codes.dtype.name) of shape \(codes.shape) came.")
    }
    (self.shape, self.format, self.codes) = (shape, format, try codes.dense())
  }

  /// Rounded to nearest, ties to even. What is beyond the format's numbers is an error.
  init(_ weight: Weight, _ format: Format) throws(TemperError) {
    let codes = try Tensor(zeros: [weight.rows, 2 * weight.columns], .uint8)
    for row in 0..<weight.rows {
      var bytes: [UInt8] = []
      bytes.reserveCapacity(2 * weight.columns)
      for (column, value) in try weight.values.slice(row..<(row + 1)).array(of: Float.self).enumerated() {
        let bits = format.bits(of: value)
        guard format.value(bits).isFinite else {
          throw TemperError(
            .outOfRange, "Row \(row), column \(column) is \(value), beyond the numbers of \(format.rawValue).")
        }
        bytes.append(UInt8(truncatingIfNeeded: bits))
        bytes.append(UInt8(bits >> 8))
      }
      try codes.slice(row..<(row + 1)).assign(from: try Tensor(bytes, shape: [1, 2 * weight.columns]))
    }
    try self.init(shape: weight.shape, format, codes: codes)
  }

  @unsafe package func decode(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    let start = unsafe codes.pointer.assumingMemoryBound(to: UInt8.self) + 2 * rows.lowerBound * columns
    let kind: Tensor.HalfFormat = format == .float16 ? .float16 : .bfloat16
    unsafe kind.decode(start, rows.count * columns, into: target)
    withExtendedLifetime(codes) {}
  }

  package var storedDescription: [JSON.Member] {
    [
      JSON.Member("form", .text(Self.formName)),
      JSON.Member("shape", .array(shape.sizes.map { .integer($0) })),
      JSON.Member("format", .text(format.rawValue)),
    ]
  }

  package func storedTensors(workers: Workers) throws(TemperError) -> [(suffix: String, tensor: Tensor)] {
    [(".codes", codes)]
  }

  init(stored: StoredWeight) throws(TemperError) {
    guard let format = Format(rawValue: try stored.text("format")) else {
      throw TemperError(.malformedFile, "Its format is not float16 or bfloat16.")
    }
    try self.init(shape: try stored.shape, format, codes: try stored.tensor(".codes").copy())
    for row in 0..<rows {
      let values = try Tensor(zeros: [columns], .float32)
      unsafe decode(row..<(row + 1), into: values.pointer.assumingMemoryBound(to: Float.self))
      guard try values.array(of: Float.self).allSatisfy(\.isFinite) else {
        throw TemperError(.notFinite, "Its weights are not all finite.")
      }
    }
  }
}

extension HalfNumbers.Format {
  func value(_ bits: UInt16) -> Float {
    switch self {
    case .bfloat16: return Float(bitPattern: UInt32(bits) << 16)
    case .float16:
      let sign: Float = bits >> 15 == 1 ? -1 : 1
      let (exponent, fraction) = (Int(bits >> 10 & 31), Float(bits & 1023))
      if exponent == 31 { return fraction == 0 ? sign * .infinity : .nan }
      let size =
        exponent == 0
        ? fraction * 0x1p-24 : Float(sign: .plus, exponent: exponent - 15, significand: 1 + fraction / 1024)
      return sign * size
    }
  }

  /// Of the nearest number, ties to even; infinity beyond the largest.
  func bits(of value: Float) -> UInt16 {
    switch self {
    case .bfloat16:
      let bits = value.bitPattern
      return UInt16((bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
    case .float16:
      let sign: UInt16 = value.sign == .minus ? 0x8000 : 0
      let size = abs(value)
      if size >= 65520 { return sign | 0x7C00 }
      if size < 0x1p-14 { return sign | UInt16((size * 0x1p24).rounded(.toNearestOrEven)) }
      // 1024 + fraction, which may carry into the exponent: the sum is right all the same.
      let fraction = UInt16((size.significand * 1024).rounded(.toNearestOrEven))
      return sign | (UInt16(Int(size.exponent) + 14) << 10) + fraction
    }
  }
}
