import Testing

@testable import TemperCore

@Suite struct TensorTests {
  @Test func viewsAndCopies() throws {
    let t = try Tensor([0, 1, 2, 3, 4, 5] as [Float], shape: [2, 3])
    #expect(try t.permuted([1, 0]).array(of: Float.self) == [0, 3, 1, 4, 2, 5])
    #expect(try t.slice(1..<3, axis: 1).array(of: Double.self) == [1, 2, 4, 5])
    #expect(
      try Tensor([7, 8] as [Int32], shape: [2, 1]).broadcast(to: [2, 3]).array(of: Int64.self) == [7, 7, 7, 8, 8, 8])
    #expect(try t.permuted([1, 0]).reshaped([6]).array(of: Float.self) == [0, 3, 1, 4, 2, 5])
  }

  @Test func conversionsSaturate() throws {
    let t = try Tensor([-1.9, 2.9, 1e30, -.infinity, .nan] as [Double])
    #expect(try t.array(of: Int32.self) == [-1, 2, .max, .min, 0])
    #expect(try t.array(of: UInt8.self) == [0, 2, 255, 0, 0])
    #expect(try t.copy(as: .bool).array(of: UInt8.self) == [1, 1, 1, 1, 1])
  }

  @Test func largeArraysLieAtDifferentPlaces() throws {
    let large = try (0..<8).map { _ in try Storage(byteCount: 4 << 20, isCleared: false) }
    let places = large.map { Int(bitPattern: $0.base) % Storage.block }
    #expect(places.allSatisfy { $0 % Storage.step == 0 })
    // Other tests take their turns too.
    #expect(Set(places).count > 4)
    for byteCount in [0, 1, 64, 1000, (4 << 20) - 1] {
      #expect(try Int(bitPattern: Storage(byteCount: byteCount).base) % 64 == 0)
    }
  }

  @Test func badViewsAreErrors() throws {
    let storage = try Storage(byteCount: 64)
    #expect(throws: TemperError.self) {
      _ = try Tensor(storage: storage, byteOffset: 0, dtype: .float32, shape: [17], strides: [1])
    }
    #expect(throws: TemperError.self) {
      _ = try Tensor(storage: storage, byteOffset: 0, dtype: .float32, shape: [2], strides: [-1])
    }
    #expect(throws: TemperError.self) {
      _ = try Tensor(storage: storage, byteOffset: 0, dtype: .float32, shape: [2, 2], strides: [.max, 1])
    }
    #expect(throws: TemperError.self) { _ = try Shape(validating: [1 << 40, 1 << 40]) }
    #expect(throws: TemperError.self) { _ = try Shape(validating: [-1]) }
  }

  /// More than any machine has, and more than this one has left: both are refused before the system ends the process.
  @Test func absurdSizesAreErrors() throws {
    #expect(throws: TemperError.self) { try Tensor(zeros: [1 << 46], .float64) }
    let left = try #require(SystemMemory.available())
    #expect(left > 1 << 20)
    #expect(throws: TemperError.self) { try Tensor(zeros: [left + left / 8], .uint8) }
  }
}
