import TemperCatalogue
import TemperCore
import TemperGraph
import TemperReference
import Testing

/// Calls with arrays: compiled plans against the plain interpreter, in both precisions and with any thread count.
@Suite struct InstanceTests {
  /// Values and gradients of one call, flattened by name.
  static func call(_ example: Example, _ type: DType, workers: Workers = oneWorker) throws -> [String: [Double]] {
    let tensors = try example.tensors(type)
    var results: [String: [Double]] = [:]
    if example.method.kind == .loss {
      let instance = try LossInstance(example.method, example.arguments, workers: workers)
      results["value"] = try numbers(try instance.evaluate(tensors))
      for (name, gradient) in try instance.valueAndGradient(
        tensors, reduction: .none, wrt: example.differentiable
      ).gradients {
        #expect(gradient.shape == tensors[name]!.shape)
        results[name] = try numbers(gradient)
      }
    } else {
      let instance = try OperationInstance(example.method, example.arguments, workers: workers)
      let value = try instance.evaluate(tensors)
      results["value"] = try numbers(value)
      let seed = (0..<value.count).map { Double($0) * 0.37 - 1 }
      let dy = try Tensor(seed, shape: value.shape).copy(as: type)
      for (name, gradient) in try instance.vectorJacobianProduct(tensors, dy: dy) {
        #expect(gradient.shape == tensors[name]!.shape)
        results[name] = try numbers(gradient)
      }
    }
    return results
  }

  static func reference(_ example: Example) throws -> [String: [Double]] {
    let probe = try Probe(example)
    var interpreter = ReferenceInterpreter(example.values)
    var results = ["value": try interpreter.evaluate(probe.result)]
    for name in example.differentiable {
      let gradient = try Differentiate.gradients(of: probe.total, withRespectTo: [probe.inputs[name]!])[0]
      results[name] = try interpreter.evaluate(gradient)
    }
    return results
  }

  @Test(arguments: variants) func plansAgreeWithTheReference(_ variant: Variant) throws {
    let example = try variant.example
    let expected = try InstanceTests.reference(example)
    let (double, single) = (try InstanceTests.call(example, .float64), try InstanceTests.call(example, .float32))
    #expect(Set(double.keys) == Set(expected.keys))
    for (name, values) in expected {
      let exact = deviation(double[name] ?? [], values)
      #expect(exact < 1e-10, "\(variant.testDescription), \(name): \(double[name] ?? []) against \(values)")
      let size = values.reduce(1) { max($0, abs($1)) }
      let rounded = zip(single[name] ?? [], values).reduce(0) { max($0, abs($1.0 - $1.1)) }
      #expect(rounded < 2e-4 * size, "\(variant.testDescription), \(name): off by \(rounded) of \(size) in float32")
    }
  }

  /// The mean and the sum are those of the values by sample, and so are their gradients; weights and masks come after.
  @Test(arguments: lossNames) func reductionsAreOfTheValues(_ name: String) throws {
    let example = try Example(try method(name))
    let instance = try LossInstance(example.method, example.arguments, workers: oneWorker)
    var tensors = try example.tensors(.float64)
    let values = try numbers(try instance.evaluate(tensors))
    let wrt = example.differentiable
    let each = try instance.valueAndGradient(tensors, reduction: .none, wrt: wrt)
    let sum = try instance.valueAndGradient(tensors, reduction: .sum, wrt: wrt)
    let mean = try instance.valueAndGradient(tensors, reduction: .mean, wrt: wrt)
    #expect(deviation(try numbers(each.value), values) < 1e-14)
    #expect(deviation([sum.value.scalar], [values.reduce(0, +)]) < 1e-12)
    #expect(deviation([mean.value.scalar], [values.reduce(0, +) / Double(values.count)]) < 1e-12)
    for name in wrt {
      let (a, b) = (try numbers(each.gradients[name]!), try numbers(sum.gradients[name]!))
      let c = try numbers(mean.gradients[name]!).map { $0 * Double(values.count) }
      #expect(deviation(a, b) < 1e-12)
      #expect(deviation(a, c) < 1e-11)
    }
    guard !instance.isBatchLoss else {
      tensors["sample_weights"] = try Tensor([1.0])
      #expect(throws: TemperError.self) { try instance.evaluate(tensors) }
      return
    }
    let weights = values.indices.map { Double($0) * 0.5 }
    tensors["sample_weights"] = try Tensor(weights)
    tensors["sample_mask"] = try Tensor(values.indices.map { UInt8($0 == 1 ? 0 : 1) })
    let expected = values.indices.map { $0 == 1 ? 0 : values[$0] * weights[$0] }
    #expect(deviation(try numbers(try instance.evaluate(tensors)), expected) < 1e-14)
    let masked = try instance.valueAndGradient(tensors, reduction: .mean, wrt: wrt)
    #expect(deviation([masked.value.scalar], [expected.reduce(0, +) / Double(values.count - 1)]) < 1e-12)
  }

  /// The same bits whatever the number of threads, on batches large enough to be cut.
  @Test(arguments: expressionMethods) func threadsChangeNothing(_ name: String) throws {
    let example = try Example(try method(name), scale: 40)
    let (one, three) = (
      try InstanceTests.call(example, .float32), try InstanceTests.call(example, .float32, workers: threeWorkers)
    )
    for (name, values) in one {
      #expect(three[name]!.map(\.bitPattern) == values.map(\.bitPattern))
    }
  }

  @Test(arguments: variants) func hessianVectorProductsAgree(_ variant: Variant) throws {
    let example = try variant.example
    guard example.method.kind == .loss, example.method.properties.contains("smooth"),
      let name = example.differentiable.first
    else { return }
    let probe = try Probe(example)
    let input = probe.inputs[name]!
    let direction = (0..<input.shape.count).map { Double($0) * 0.21 - 1 }
    let product = try Differentiate.hessianVectorProducts(
      of: probe.result.sumAll(), withRespectTo: [input], directions: [.input("direction", input.shape)])[0]
    var interpreter = ReferenceInterpreter(example.values.merging(["direction": direction]) { $1 })
    let expected = try interpreter.evaluate(product)
    let instance = try LossInstance(example.method, example.arguments, workers: oneWorker)
    let tensors = try example.tensors(.float64)
    let got = try instance.hessianVectorProduct(
      tensors, directions: [name: try Tensor(direction, shape: tensors[name]!.shape)], reduction: .sum)
    #expect(deviation(try numbers(got[name]!), expected) < 1e-9)
  }
}
