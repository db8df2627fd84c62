import TemperCatalogue
import TemperCore
import TemperGraph
import Testing

@testable import TemperLosses

/// Losses of logits (N, C) and class ids, with all other inputs optional or easily made.
let classificationLosses = catalogue.methods.filter {
  $0.kind == .loss && $0.inputs.contains { $0.name == "logits" && $0.forms == Input.logits.forms }
    && $0.inputs.contains { $0.name == "targets" && $0.forms.contains(Input.classIds.forms[0]) }
}.map(\.name)

@Suite struct EdgeTests {
  private func call(
    _ name: String, logits: [Double], classes: Int, targets: [Double], _ type: DType = .float32
  ) throws -> (values: [Double], gradient: [Double]) {
    let method = try method(name)
    let n = targets.count
    var example = try Example(method, sizes: ["N": n, "C": classes])
    example.arrays["logits"]?.values = logits
    example.arrays["targets"]?.values = targets
    Domain.repair[name]?(&example)
    let instance = try LossInstance(method, example.arguments, workers: oneWorker)
    let tensors = try example.tensors(type)
    let gradient = try instance.valueAndGradient(tensors, reduction: .none, wrt: ["logits"])
    return (try numbers(gradient.value), try numbers(gradient.gradients["logits"]!))
  }

  /// Scores of 1e4 either way, right and wrong: no NaN, no infinity.
  @Test(arguments: classificationLosses) func hugeLogitsStayFinite(_ name: String) throws {
    let logits = [1e4, -1e4, 0, -1e4, 1e4, 0, 1e4, 1e4, 1e4, -1e4, -1e4, -1e4]
    for type in [DType.float32, .float64] {
      let (values, gradient) = try call(name, logits: logits, classes: 3, targets: [0, 0, 1, 2], type)
      #expect(values.allSatisfy { $0.isFinite }, "\(values)")
      #expect(gradient.allSatisfy { $0.isFinite }, "\(gradient)")
    }
  }

  /// A class that is masked by -inf, and is not the target, is no class at all.
  @Test(arguments: classificationLosses) func maskedClassesHaveNoSlope(_ name: String) throws {
    guard !EdgeTests.needsAllLogits.contains(name) else { return }
    let (values, gradient) = try call(
      name, logits: [1, -.infinity, 0.5, 0, 2, -.infinity], classes: 3, targets: [0, 1])
    #expect(values.allSatisfy { $0.isFinite }, "\(values)")
    #expect(gradient.allSatisfy { $0.isFinite }, "\(gradient)")
    #expect(gradient[1] == 0 && gradient[5] == 0)
  }

  /// Losses in whose formula every logit stands by itself (means, norms, spread or further targets), or
  /// whose teacher believes in every class.
  static let needsAllLogits: Set<String> = [
    "max_suppression", "z_loss", "distillation", "environment_label_smoothing", "backward_correction",
    "peer_loss", "decoupled_kd", "mixup_cross_entropy",
  ]

  @Test(arguments: classificationLosses) func oneSample(_ name: String) throws {
    let (values, gradient) = try call(name, logits: [0.3, -1, 2], classes: 3, targets: [2])
    #expect(values.count == 1 && (values + gradient).allSatisfy { $0.isFinite })
  }

  /// With one class there is nothing to decide: a finite value and no gradient, or an error that says so.
  @Test(arguments: classificationLosses) func oneClass(_ name: String) throws {
    guard name != "energy_margin" else { return }  // energies have a slope without a choice, too
    do {
      let (values, gradient) = try call(name, logits: [0.3, -1], classes: 1, targets: [0, 0])
      #expect(values.allSatisfy { $0.isFinite } && gradient.allSatisfy { abs($0) < 1e-6 }, "\(values) \(gradient)")
    } catch let error as TemperError {
      #expect(error.message.contains("class"))
    }
  }

  /// One-hot probabilities say the same as class ids.
  @Test(arguments: Domain.classification.sorted()) func probabilitiesAgreeWithIds(_ name: String) throws {
    for settings in variants.filter({ $0.name == name && $0.form == 0 }).map(\.settings) {
      let ids = try Example(try method(name), settings)
      var soft = ids
      let subject = ids.method.inputs[0].name
      let classes = Domain.sizes[name]?["C"] ?? Example.sizes["C"]!
      let values = ids.arrays["targets"]!.values
      soft.arrays["targets"] = .init(
        values: values.flatMap { id in (0..<classes).map { Double($0) == id ? 1 : 0 } },
        shape: [values.count, classes], form: .init(["N", "C"]))
      let (a, b) = (try InstanceTests.call(ids, .float64), try InstanceTests.call(soft, .float64))
      #expect(deviation(a["value"]!, b["value"]!) < 1e-12)
      #expect(deviation(a[subject]!, b[subject]!) < 1e-12)
    }
  }

  @Test(arguments: variants) func declaredPropertiesHold(_ variant: Variant) throws {
    let example = try variant.example
    let properties = example.method.properties
    let values = try InstanceTests.call(example, .float64)["value"]!
    if properties.contains("nonnegative") { #expect(values.allSatisfy { $0 >= -1e-12 }, "\(values)") }
    let subject = example.method.inputs[0].name
    func moved(_ change: (Double) -> Double) throws -> [Double] {
      var other = example
      other.arrays[subject]!.values = example.arrays[subject]!.values.map(change)
      return try InstanceTests.call(other, .float64)["value"]!
    }
    if properties.contains("shift_invariant") {
      let shifted = try moved { $0 + 0.75 }
      #expect(deviation(shifted, values) < 1e-9)
    }
    if properties.contains("scale_invariant") {
      let scaled = try moved { $0 * 3 }
      #expect(deviation(scaled, values) < 1e-9)
    }
    if properties.contains("simplex") {
      let columns = example.arrays[subject]!.shape.last
      for start in stride(from: 0, to: values.count, by: columns) {
        let row = values[start..<(start + columns)]
        #expect(abs(row.reduce(0, +) - 1) < 1e-12 && row.allSatisfy { $0 >= 0 })
      }
    }
  }
}
