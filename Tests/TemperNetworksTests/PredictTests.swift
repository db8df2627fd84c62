import TemperCore
import TemperGraph
import Testing

@testable import TemperNetworks

@Suite struct PredictTests {
  private let text = #"[{"dense": 16}, "batch_norm", "relu", {"dropout": 0.5}, {"dense": 3}]"#

  @Test(arguments: [DType.float32, .float64]) func batchesMakeOneWhole(dtype: DType) throws {
    let model = try makeModel(text, input: [6], dtype: dtype)
    let x = try Tensor(numbers(67 * 6, "x"), shape: [67, 6]).copy(as: dtype)
    let whole = try model.predict(x, workers: workers).array(of: Double.self)
    #expect(whole.count == 201 && Set(whole).count > 150)
    for batchSize in [1, 16, 67, 1000] {
      let parts = try model.predict(x, workers: workers, batchSize: batchSize).array(of: Double.self)
      expectClose(parts, whole, dtype == .float32 ? 1e-6 : 1e-14)
      #expect(model.predictions.count <= 4)
    }
    for row in [0, 66] {
      let single = try model.predict(try x.slice(row..<(row + 1)), workers: workers).array(of: Double.self)
      expectClose(single, Array(whole[(row * 3)..<(row * 3 + 3)]), dtype == .float32 ? 1e-6 : 1e-14)
    }
  }

  @Test func plansAreKept() throws {
    let model = try makeModel(text, input: [6])
    let x = try Tensor(numbers(60, "x"), shape: [10, 6])
    let y = try Tensor(zeros: [10, 3], .float64)
    try model.predict(x, into: y, workers: workers, batchSize: 4)
    let kept = model.predictions.map { ObjectIdentifier($0.execution) }
    #expect(kept.count == 2)
    try model.predict(x, into: y, workers: workers, batchSize: 4)
    #expect(Set(model.predictions.map { ObjectIdentifier($0.execution) }) == Set(kept))
  }

  @Test func newWeightsAreSeen() throws {
    let model = try makeModel(#"[{"dense": {"size": 1, "bias": false}}]"#, input: [2])
    let x = try Tensor([1, 2] as [Double], shape: [1, 2])
    try set(model, "0.weight", [1, 10])
    #expect(try model.predict(x, workers: workers).array(of: Double.self) == [21])
    try set(model, "0.weight", [2, 10])
    #expect(try model.predict(x, workers: workers).array(of: Double.self) == [22])
    model.replacements["0.weight"] = { $0.sum() * 100 }
    #expect(try model.predict(x, workers: workers).array(of: Double.self) == [300])
    model.replacements = [:]
    #expect(try model.predict(x, workers: workers).array(of: Double.self) == [22])
  }

  @Test func anyNumbersAndLayoutsAreTaken() throws {
    let model = try makeModel(text, input: [3], dtype: .float32)
    let values = [3.0, 1, 4, 1, 5, 9]
    let plain = try Tensor(values, shape: [2, 3])
    let expected = try model.predict(plain.copy(as: .float32), workers: workers).array(of: Float.self)
    for dtype in [DType.float64, .int32, .int64, .uint8] {
      #expect(try model.predict(plain.copy(as: dtype), workers: workers).array(of: Float.self) == expected)
    }
    let view = try Tensor([3, 1, 1, 5, 4, 9] as [Float], shape: [3, 2]).permuted([1, 0])
    #expect(try model.predict(view, workers: workers).array(of: Float.self) == expected)
  }

  @Test func emptyBatchesAndWrongShapes() throws {
    let model = try makeModel(text, input: [6])
    #expect(try model.predict(try Tensor(zeros: [0, 6]), workers: workers).shape == [0, 3])
    for shape: Shape in [[6], [2, 7], [2, 6, 1], []] {
      #expect(throws: TemperError.self) { try model.predict(try Tensor(zeros: shape), workers: workers) }
    }
    let x = try Tensor(zeros: [2, 6], .float64)
    for y in [try Tensor(zeros: [2, 4], .float64), try Tensor(zeros: [2, 3], .float32)] {
      #expect(throws: TemperError.self) { try model.predict(x, into: y, workers: workers) }
    }
    let strided = try Tensor(zeros: [3, 2], .float64).permuted([1, 0])
    #expect(throws: TemperError.self) { try model.predict(x, into: strided, workers: workers) }
    let y = try Tensor(zeros: [2, 3], .float64)
    #expect(throws: TemperError.self) { try model.predict(x, into: y, workers: workers, batchSize: 0) }
    #expect(throws: TemperError.self) {
      try model.predict(x, mask: try Tensor(zeros: [2, 6]), into: y, workers: workers)
    }
  }

  @Test func aModelOfNothingIsTheIdentity() throws {
    let model = try makeModel("[]", input: [3])
    let values = numbers(12, "x")
    let y = try model.predict(try Tensor(values, shape: [4, 3]), workers: workers)
    #expect(try y.array(of: Double.self) == values)
  }

  /// In training a share p of the elements is 0 and the others are x / (1 - p); each layer draws for itself.
  @Test func dropoutDrops() throws {
    let model = try makeModel(#"[{"dropout": 0.3}, {"dropout": 0.5}]"#, input: [2000])
    let run = try Run(model, batch: 10, mode: .training, clock: true)
    try run.bind("x", try Tensor([Double](repeating: 1, count: 20_000), shape: [10, 2000]))
    try run.execution.run()
    let y = try run.values("y")
    #expect(Set(y) == [0, 1 / 0.7 * 2])
    // 0.35 of the elements survive both; five standard errors.
    #expect(abs(Double(y.count { $0 > 0 }) / 20_000 - 0.35) < 0.017)
  }

  @Test func twoThreadCountsGiveTheSameBits() throws {
    let model = try makeModel(text, input: [6], dtype: .float32)
    let x = try Tensor(numbers(300 * 6, "x"), shape: [300, 6]).copy(as: .float32)
    let one = try model.predict(x, workers: Workers(count: 1)).array(of: Float.self)
    #expect(try model.predict(x, workers: Workers(count: 3)).array(of: Float.self) == one)
  }
}
