import TemperCore
import Testing

@testable import TemperQuantization

private func packed(_ rows: Int, _ columns: Int, bits: Int = 4, symmetric: Bool = true, group: Int? = nil) throws
  -> PackedMatrix
{
  try RoundToNearest(
    grid: try Grid(symmetric ? .symmetric : .asymmetric, bits: bits),
    granularity: group.map { .group($0) } ?? .channel
  ).quantize(weights([rows, columns]), workers: workers).matrix.packed!
}

@Suite struct PackedMatrixTests {
  /// Every product is that of the decoded weights, up to the rounding of the sum.
  @Test(arguments: [1, 2, 17]) func productsAreThoseOfTheDecodedWeights(m: Int) throws {
    for bits in 2...8 {
      for (rows, columns, group) in [(10, 64, nil), (40, 100, 32), (5, 900, 50), (3, 1, nil)] as [(Int, Int, Int?)] {
        let matrix = try packed(rows, columns, bits: bits, symmetric: bits % 2 == 0, group: group)
        let decoded = floats(try matrix.dequantize(workers: workers)).map(Double.init)
        for dtype in [DType.float32, .float64] {
          let x = try weights([m, columns], seed: 9, scale: 1).copy(as: dtype)
          let y = try matrix.matmul(x, workers: workers)
          #expect(y.shape == [m, rows] && y.dtype == dtype)
          let (inputs, found) = (doubles(x), doubles(y))
          let unit = dtype == .float32 ? 0x1p-24 : 0x1p-53
          var isRight = true
          for i in 0..<m {
            for row in 0..<rows {
              var (sum, size) = (0.0, 0.0)
              for c in 0..<columns {
                let term = inputs[i * columns + c] * decoded[row * columns + c]
                (sum, size) = (sum + term, size + abs(term))
              }
              isRight = isRight && abs(found[i * rows + row] - sum) <= size * Double(columns + 2) * unit
            }
          }
          #expect(isRight, "\(bits) bits, \(rows)x\(columns), group \(group ?? 0), \(dtype.name)")
        }
      }
    }
  }

  @Test func threadsDoNotChangeBits() throws {
    let matrix = try packed(700, 1200, group: 96)
    for m in [1, 3, 400] {
      for dtype in [DType.float32, .float64] {
        let x = try weights([m, 1200], seed: 5, scale: 1).copy(as: dtype)
        let results = try [1, 2, 5].map { try doubles(matrix.matmul(x, workers: Workers(count: $0))) }
        #expect(results[1] == results[0] && results[2] == results[0], "\(m) rows, \(dtype.name)")
      }
    }
  }

  /// Of few pieces and many threads any thread may take any piece.
  @Test func fewPiecesForManyThreads() throws {
    let matrix = try packed(700, 1200, group: 96), workers = Workers(count: 16)
    let x = weights([3, 1200], seed: 6)
    let expected = floats(try matrix.matmul(x, workers: Workers(count: 1)))
    for _ in 0..<300 { #expect(floats(try matrix.matmul(x, workers: workers)) == expected) }
  }

  @Test func leadingAxesAndViews() throws {
    let matrix = try packed(5, 8)
    let x = weights([2, 3, 8], seed: 4)
    let y = try matrix.matmul(x, workers: workers)
    #expect(y.shape == [2, 3, 5])
    #expect(floats(y) == floats(try matrix.matmul(try x.reshaped([6, 8]), workers: workers)))
    let turned = try x.reshaped([6, 8]).permuted([1, 0]).copy().permuted([1, 0])
    #expect(floats(try matrix.matmul(turned, workers: workers)) == floats(y))
    let single = try matrix.matmul(try x.reshaped([48]).slice(0..<8), workers: workers)
    #expect(single.shape == [5])
    #expect(try matrix.matmul(try Tensor(zeros: [0, 8]), workers: workers).shape == [0, 5])
  }

  @Test func infinitiesTravel() throws {
    let matrix = try packed(4, 40)
    var values = [Float](repeating: 1, count: 80)
    (values[35], values[40 + 39]) = (.nan, .infinity)
    for m in [1, 2] {
      let x = try Tensor(Array(values[(2 - m) * 40..<80]), shape: [m, 40])
      let y = floats(try matrix.matmul(x, workers: workers))
      let weight = floats(try matrix.dequantize(workers: workers))
      for row in 0..<4 {
        if m == 2 { #expect(y[row].isNaN) }
        let last = y[(m - 1) * 4 + row]
        #expect(weight[row * 40 + 39] == 0 ? last.isNaN : last == weight[row * 40 + 39] * .infinity)
      }
    }
  }

  @Test func partsGoInAndOut() throws {
    for (bits, columns) in [(2, 9), (3, 33), (4, 64), (5, 31), (6, 1), (7, 40), (8, 17)] {
      for symmetric in [true, false] {
        let matrix = try packed(6, columns, bits: bits, symmetric: symmetric, group: 8)
        let again = try PackedMatrix(
          shape: matrix.shape, grid: matrix.grid, groupSize: matrix.groupSize, scales: matrix.scales,
          zeros: matrix.zeros, looseCodes: try matrix.looseCodes(workers: workers), workers: workers)
        #expect(floats(again.codes) == floats(matrix.codes))
      }
    }
  }

  @Test func partsThatDoNotFit() throws {
    let grid = try Grid(.symmetric, bits: 4)
    let offset = try Grid(.asymmetric, bits: 4)
    let codes = try Tensor([UInt8](repeating: 3, count: 12), shape: [2, 6])
    let scales = try Tensor([1, 1] as [Float], shape: [2, 1])
    func code(
      shape: Shape = [2, 6], grid: Grid? = nil, group: Int = 6, scales other: Tensor? = nil, zeros: Tensor? = nil,
      codes given: Tensor? = nil
    ) -> TemperError.Code? {
      failure {
        _ = try PackedMatrix(
          shape: shape, grid: grid ?? offset, groupSize: group, scales: other ?? scales, zeros: zeros,
          looseCodes: given ?? codes, workers: workers)
      }?.code
    }
    let zeros = try Tensor([0, 15] as [UInt8], shape: [2, 1])
    #expect(code(zeros: zeros) == nil)
    #expect(code(grid: grid) == nil)
    #expect(code() == .invalidShape, "zero points are missing")
    #expect(code(grid: grid, zeros: zeros) == .invalidShape, "zero points are too many")
    #expect(code(zeros: try Tensor([0, 16] as [UInt8], shape: [2, 1])) == .outOfRange)
    #expect(code(group: 0, zeros: zeros) == .outOfRange)
    #expect(code(group: 3, zeros: zeros) == .invalidShape)
    #expect(code(shape: [3, 4], zeros: zeros) == .invalidShape)
    #expect(code(shape: [], zeros: zeros) == .invalidShape)
    for bad in [Float.nan, .infinity, .greatestFiniteMagnitude] {
      #expect(code(grid: grid, scales: try Tensor([1, bad] as [Float], shape: [2, 1])) == .notFinite)
    }
    #expect(code(grid: grid, scales: try Tensor([1, 1] as [Double], shape: [2, 1])) == .invalidShape)
    // The lowest code of a symmetric grid is not used; 16 is no 4-bit code.
    #expect(code(grid: grid, codes: try Tensor([UInt8](repeating: 0, count: 12), shape: [2, 6])) == .outOfRange)
    #expect(code(zeros: zeros, codes: try Tensor([UInt8](repeating: 16, count: 12), shape: [2, 6])) == .outOfRange)
    #expect(code(zeros: zeros, codes: try Tensor([Int32](repeating: 1, count: 12), shape: [2, 6])) == .invalidShape)
  }

  @Test func inputsThatDoNotFit() throws {
    let matrix = try packed(4, 6)
    for shape in [[2, 5], [], [6, 2]] as [Shape] {
      let error = failure { _ = try matrix.matmul(try Tensor(zeros: shape), workers: workers) }
      #expect(error?.code == .invalidShape)
    }
    #expect(
      failure { _ = try matrix.matmul(try Tensor(zeros: [2, 6], .int32), workers: workers) }?.code == .invalidType)
    let x = try Tensor(zeros: [2, 6])
    #expect(failure { try matrix.matmul(x, into: try Tensor(zeros: [2, 5]), workers: workers) }?.code == .invalidShape)
    #expect(
      failure { try matrix.matmul(x, into: try Tensor(zeros: [2, 4], .float64), workers: workers) }?.code
        == .invalidType)
  }
}
