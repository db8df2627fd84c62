import TemperCatalogue
import TemperCore
import Testing

/// Where results go, how views and axes are read, what a loss remembers between calls.
@Suite struct CallTests {
  private func grid(_ shape: Shape, _ type: DType = .float64) throws -> Tensor {
    try Tensor((0..<shape.count).map { Double(($0 * 7) % 11) / 3 - 1 }, shape: shape).copy(as: type)
  }

  @Test func resultsGoToTheArraysGiven() throws {
    let instance = try loss("cross_entropy")
    let (logits, ids) = (try grid([4, 3]), try Tensor([Int32(0), 1, 2, 1]))
    let expected = try instance.valueAndGradient(["logits": logits, "targets": ids])
    // Dense, of another type, and strided.
    let roomy = try Tensor(zeros: [4, 6])
    let strided = try Tensor(
      storage: roomy.storage, byteOffset: 4, dtype: .float32, shape: [4, 3], strides: [6, 2])
    for target in [try Tensor(zeros: [4, 3], .float64), strided] {
      let value = try Tensor(zeros: [], .float64)
      let got = try instance.valueAndGradient(
        ["logits": logits, "targets": ids], value: value, gradients: ["logits": target])
      #expect(got.gradients["logits"]!.storage === target.storage && got.value.storage === value.storage)
      #expect(deviation(try numbers(target), try numbers(expected.gradients["logits"]!)) < 1e-6)
      #expect(value.scalar == expected.value.scalar)
    }
    #expect(try numbers(roomy)[0] == 0)
  }

  /// A result may lie over an input: it is written after everything was read.
  @Test func resultsMayOverwriteInputs() throws {
    let softmax = try operation("softmax")
    let x = try grid([5, 4])
    let expected = try numbers(try softmax.evaluate(["x": x]))
    _ = try softmax.evaluate(["x": x], into: x)
    #expect(try numbers(x) == expected)
  }

  @Test func viewsAreReadAsTheyAre() throws {
    let instance = try loss("cross_entropy")
    let wide = try grid([3, 4])
    let transposed = try wide.permuted([1, 0])
    let ids = try Tensor([Int64(0), 9, 1, 9, 2, 9, 1, 9])
    let everySecond = try Tensor(
      storage: ids.storage, byteOffset: 0, dtype: .int64, shape: [4], strides: [2])
    let got = try instance.evaluate(["logits": transposed, "targets": everySecond])
    let dense = try instance.evaluate(["logits": try transposed.copy(), "targets": try everySecond.copy()])
    #expect(try numbers(got) == numbers(dense))
  }

  @Test(arguments: [0, 1, 2, -1, -2, -3]) func operatorsWorkAlongAnyAxis(_ axis: Int) throws {
    let softmax = try operation("softmax")
    let x = try grid([2, 3, 4])
    let at = axis < 0 ? axis + 3 : axis
    let order = [0, 1, 2].filter { $0 != at } + [at]
    var back = [0, 0, 0]
    for (to, from) in order.enumerated() { back[from] = to }
    let moved = try x.permuted(order).copy()
    let y = try softmax.evaluate(["x": x], axis: axis)
    #expect(y.shape == x.shape)
    #expect(try numbers(y) == numbers(try softmax.evaluate(["x": moved]).permuted(back)))
    let dy = try grid([2, 3, 4])
    let dx = try softmax.vectorJacobianProduct(["x": x], dy: dy, axis: axis)["x"]!
    let plain = try softmax.vectorJacobianProduct(["x": moved], dy: try dy.permuted(order).copy())["x"]!
    #expect(try numbers(dx) == numbers(try plain.permuted(back)))
    // An operator that reduces its axis.
    let mean = try operation("boltzmann_operator").evaluate(["x": x], axis: axis)
    #expect(mean.shape.sizes == [2, 3, 4].enumerated().filter { $0.offset != at }.map(\.element))
    #expect(throws: TemperError.self) { try softmax.evaluate(["x": x], axis: 3) }
    for shape in [Shape([4, 3, 2]), [24], [2, 3, 5]] {
      #expect(throws: TemperError.self) { try softmax.vectorJacobianProduct(["x": x], dy: try grid(shape), axis: axis) }
    }
  }

  @Test func activationsTakeAnyShape() throws {
    for shape in [Shape([]), [3], [2, 3, 2]] {
      #expect(try operation("gelu").evaluate(["x": try grid(shape)]).shape == shape)
    }
  }

  @Test func moreShapesThanTheCacheHolds() throws {
    let instance = try loss("mse")
    for n in 1...40 {
      let x = try grid([n, 2])
      #expect(try numbers(try instance.evaluate(["predictions": x, "targets": x])).allSatisfy { $0 == 0 })
    }
    let x = try grid([1, 2])
    #expect(try numbers(try instance.evaluate(["predictions": x, "targets": x])) == [0])
  }

  /// The state moves towards the predictions; without one it begins at its initial value.
  @Test func stateOfSamplesIsExplicit() throws {
    let instance = try loss("elr_loss", [("beta", .real(0.6))])
    let inputs = ["logits": try grid([4, 3]), "targets": try Tensor([Int32(0), 1, 2, 1])]
    let p = try numbers(try operation("softmax").evaluate(["x": inputs["logits"]!]))
    let first = try instance.updatedState(inputs)["ema_targets"]!
    #expect(deviation(try numbers(first), p.map { 0.4 * $0 }) < 1e-12)
    let second = try instance.updatedState(inputs.merging(["ema_targets": first]) { $1 })["ema_targets"]!
    #expect(deviation(try numbers(second), p.map { (0.4 + 0.6 * 0.4) * $0 }) < 1e-12)
    #expect(throws: TemperError.self) { try loss("mse").updatedState(inputs) }
  }

  @Test func ignoredSamplesLeaveTheMean() throws {
    let logits = try grid([4, 3])
    let instance = try loss("cross_entropy", [("ignore_index", .integer(-1))])
    let some = try instance.valueAndGradient(["logits": logits, "targets": try Tensor([Int32(0), -1, 2, -1])])
    let values = try numbers(
      try loss("cross_entropy").evaluate(["logits": logits, "targets": try Tensor([Int32(0), 0, 2, 0])]))
    #expect(abs(some.value.scalar - (values[0] + values[2]) / 2) < 1e-14)
    let slope = try numbers(some.gradients["logits"]!)
    #expect(slope[3..<6].allSatisfy { $0 == 0 } && slope[0] != 0)
    let none = try instance.valueAndGradient([
      "logits": logits, "targets": try Tensor([Int32](repeating: -1, count: 4)),
    ])
    #expect(none.value.scalar == 0)
    #expect(try numbers(none.gradients["logits"]!).allSatisfy { $0 == 0 })
  }
}
