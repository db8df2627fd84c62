import TemperCore
import TemperNetworks
import Testing

@testable import TemperQuantization

/// One weight (5, 21) in every form, plain and with everything around it.
private func matrices() throws -> [QuantizedMatrix] {
  let weight = try Weight(weights([5, 21]))
  let values = floats(weight.values)
  let affine = try AffineCodes(
    nearest: weight, bits: 3, groupSize: 8, scales: [Float](repeating: 0.05, count: 15),
    offsets: (0..<15).map { -0.1 - Float($0) / 100 }, workers: workers)
  var random = Random(seed: 4)
  let tables = weights([2, 16, 4], seed: 9)
  let vectors = try VectorCodes(
    shape: [5, 21], tables: tables, perVector: 2, scales: try Tensor((1...5).map { Float($0) / 3 }),
    looseCodes: try Tensor((0..<60).map { _ in UInt8(random.below(16)) }, shape: [5, 12]), workers: workers)
  let widths = (0..<21).map { UInt8($0 % 9) }
  let mixed = try MixedColumns(
    shape: [5, 21], widths: try Tensor(widths), ranges: try Tensor((0..<15).map { Float($0 % 3) - 1 }, shape: [5, 3]),
    looseCodes: try Tensor((0..<105).map { UInt8(random.below(1 << Int(widths[$0 % 21]))) }, shape: [5, 21]),
    workers: workers)
  let sparse = try SparseRows(shape: [5, 21], dense: values.map { abs($0) > 0.08 ? $0 : 0 })
  let codes = try RoundToNearest(grid: try Grid(.asymmetric, bits: 4), granularity: .group(8))
    .pack(weight, inputs: nil, workers: workers).form
  let forms: [any WeightForm] = [
    affine, vectors, mixed, sparse, codes, try HalfNumbers(weight, .float16), try HalfNumbers(weight, .bfloat16),
  ]
  let around = Adjustment(
    inputScales: try Tensor((0..<21).map { 0.5 + Float($0) / 10 }), rotation: Rotation(columns: 21, seed: 3),
    lowRank: (weights([3, 21], seed: 5), weights([5, 3], seed: 6)), offsets: weights([5], seed: 7))
  return try forms.map { try QuantizedMatrix($0) } + forms.map { try QuantizedMatrix($0, around) }
}

@Suite struct FormTests {
  @Test func productsAreThoseOfTheDecodedWeights() throws {
    for matrix in try matrices() {
      let back = doubles(try matrix.dequantize(workers: workers))
      let offsets = try matrix.adjustment.offsets.map { try $0.array(of: Double.self) }
      for type in [DType.float32, .float64] {
        let x = try weights([3, 21], seed: 2, scale: 1).copy(as: type)
        let inputs = doubles(x)
        let y = doubles(try matrix.matmul(x, workers: workers))
        for sample in 0..<3 {
          for row in 0..<5 {
            let expected = (0..<21).reduce(offsets?[row] ?? 0) { $0 + inputs[sample * 21 + $1] * back[row * 21 + $1] }
            #expect(abs(y[sample * 5 + row] - expected) < 1e-5 * 21, "\(matrix.form)")
          }
        }
      }
      let rows = try Tensor(zeros: [3, 21])
      try matrix.lookUp(try Tensor([4, 0, 4] as [Int32]), into: rows, workers: workers)
      let found = doubles(rows)
      for (place, row) in [4, 0, 4].enumerated() {
        for column in 0..<21 { #expect(abs(found[place * 21 + column] - back[row * 21 + column]) < 1e-6) }
      }
    }
  }

  @Test func filesKeepEveryBit() throws {
    for matrix in try matrices() {
      let file = Safetensors(metadata: [:], tensors: try matrix.storedTensors(of: "w", workers: workers))
      let restored = try QuantizedMatrix(stored: "w", matrix.storedDescription, in: file, workers: workers)
      #expect(restored.byteCount == matrix.byteCount && restored.bits == matrix.bits)
      #expect(
        floats(try restored.dequantize(workers: workers)) == floats(try matrix.dequantize(workers: workers)))
      let x = weights([2, 21], seed: 8)
      #expect(floats(try restored.matmul(x, workers: workers)) == floats(try matrix.matmul(x, workers: workers)))
      // Each of its tensors is needed, and none may have another shape.
      for index in file.tensors.indices {
        guard
          ![".input_scales", ".down", ".output_offsets", ".zeros"].contains(where: file.tensors[index].name.hasSuffix)
        else { continue }
        var without = file
        without.tensors.remove(at: index)
        let missing = failure {
          _ = try QuantizedMatrix(stored: "w", matrix.storedDescription, in: without, workers: workers)
        }
        #expect(missing?.code == .malformedFile, "\(file.tensors[index].name)")
        var other = file
        other.tensors[index].tensor = try Tensor(zeros: [3, 2, 1], file.tensors[index].tensor.dtype)
        let wrong = failure {
          _ = try QuantizedMatrix(stored: "w", matrix.storedDescription, in: other, workers: workers)
        }
        #expect(wrong?.code == .malformedFile, "\(file.tensors[index].name)")
      }
    }
  }

  /// R is orthogonal, mixes every input, and is undone by its transpose; sizes that are no powers of two too.
  @Test(arguments: [1, 2, 3, 8, 21, 33, 48, 64]) func rotations(n: Int) throws {
    let rotation = Rotation(columns: n, seed: 11)
    var columns: [[Double]] = []
    for i in 0..<n {
      var unit = [Double](repeating: 0, count: n)
      unit[i] = 1
      unsafe unit.withUnsafeMutableBufferPointer { unsafe rotation.rotate($0.baseAddress!) }
      columns.append(unit)
      var back = unit
      unsafe back.withUnsafeMutableBufferPointer { unsafe rotation.rotateBack($0.baseAddress!) }
      for j in 0..<n { #expect(abs(back[j] - (i == j ? 1 : 0)) < 1e-12) }
    }
    for i in 0..<n {
      for j in 0..<n {
        let dot = (0..<n).reduce(0.0) { $0 + columns[i][$1] * columns[j][$1] }
        #expect(abs(dot - (i == j ? 1 : 0)) < 1e-12)
      }
    }
    // A single large input reaches many others.
    if n >= 8 { #expect(columns.allSatisfy { $0.map(abs).max()! < 0.8 }) }
    #expect(Rotation(columns: n, seed: 11) == rotation && (n < 4 || Rotation(columns: n, seed: 12) != rotation))
  }

  @Test func halfNumbersAreThoseOfTheProcessor() throws {
    var values: [Float] = [
      0, -0.0, 65504, 65519, 0x1p-24, 0x1p-25, 0x1.8p-25, 0x1p-14, 0x1.FFCp-15, 1.0009765, 1.0004883,
    ]
    values += (0..<4000).map { Float(sign: .plus, exponent: $0 % 40 - 26, significand: 1 + Float($0) / 4001) }
    values += values.map { -$0 }
    for value in values where abs(value) < 65520 {
      #expect(HalfNumbers.Format.float16.bits(of: value) == Float16(value).bitPattern, "\(value)")
      let bits = HalfNumbers.Format.float16.bits(of: value)
      #expect(HalfNumbers.Format.float16.value(bits) == Float(Float16(value)))
    }
    // bfloat16 keeps 8 bits of significand: half a unit of the last at most, ties to even.
    #expect(HalfNumbers.Format.bfloat16.value(HalfNumbers.Format.bfloat16.bits(of: 1 + 0x1p-8)) == 1)
    #expect(HalfNumbers.Format.bfloat16.value(HalfNumbers.Format.bfloat16.bits(of: 1 + 0x1.8p-7)) == 1 + 0x1p-6)
    #expect(HalfNumbers.Format.bfloat16.value(HalfNumbers.Format.bfloat16.bits(of: 1 + 0x1.02p-8)) == 1 + 0x1p-7)
    #expect(failure { _ = try HalfNumbers(try Weight(try Tensor([70000 as Float])), .float16) }?.code == .outOfRange)
  }
}
