import TemperCatalogue
import TemperCore
import Testing

@Suite struct CompositionTests {
  private let inputs = [
    "logits": try! Tensor([0.2, -1, 3, 0.5, 0.1, 2], shape: [2, 3]), "targets": try! Tensor([Int32(2), 0]),
  ]

  private func arguments(_ name: String, _ settings: [(name: String, value: Value)] = []) throws -> Arguments {
    try Arguments(settings, for: try method(name).parameters)
  }

  @Test func sumsOfLosses() throws {
    let sum = try Method.weightedSum(
      "mix",
      [
        (0.25, try method("cross_entropy"), try arguments("cross_entropy", [("label_smoothing", .real(0.1))])),
        (2, try method("generalized_cross_entropy"), try arguments("generalized_cross_entropy")),
        (1, try method("cross_entropy"), try arguments("cross_entropy")),
      ])
    #expect(sum.parameters.map(\.name).contains("cross_entropy_2.label_smoothing"))
    func value(_ settings: [(name: String, value: Value)] = []) throws -> [Double] {
      try numbers(
        try LossInstance(sum, try Arguments(settings, for: sum.parameters), workers: oneWorker).evaluate(inputs))
    }
    func part(_ name: String, _ settings: [(name: String, value: Value)] = []) throws -> [Double] {
      try numbers(try loss(name, settings).evaluate(inputs))
    }
    let smooth = try part("cross_entropy", [("label_smoothing", .real(0.1))])
    let (gce, ce) = (try part("generalized_cross_entropy"), try part("cross_entropy"))
    #expect(deviation(try value(), (0..<2).map { 0.25 * smooth[$0] + 2 * gce[$0] + ce[$0] }) < 1e-14)
    // Parameters of parts move as any others: this is what a schedule does.
    let moved = try value([("generalized_cross_entropy.weight", .real(0)), ("cross_entropy.label_smoothing", .real(0))])
    #expect(deviation(moved, ce.map { 1.25 * $0 }) < 1e-14)
  }

  @Test func sumsKeepStateAndIgnoredSamples() throws {
    let sum = try Method.weightedSum(
      "mix",
      [
        (1, try method("elr_loss"), try arguments("elr_loss")),
        (1, try method("cross_entropy"), try arguments("cross_entropy")),
      ])
    let instance = try LossInstance(sum, try Arguments([], for: sum.parameters), workers: oneWorker)
    #expect(try instance.updatedState(inputs)["ema_targets"]!.shape == [2, 3])
    let mixed = try Method.weightedSum(
      "mix",
      [
        (1, try method("cross_entropy"), try arguments("cross_entropy")),
        (1, try method("cut_cross_entropy"), try arguments("cut_cross_entropy")),
      ])
    #expect(mixed.inputs.first { $0.name == "targets" }!.forms.count == 1)
    #expect(throws: TemperError.self) {
      try Method.weightedSum(
        "odd",
        [
          (1, try method("mse"), try arguments("mse")),
          (1, try method("cut_cross_entropy"), try arguments("cut_cross_entropy")),
        ])
    }
  }

  @Test func logitsThroughAnOperator() throws {
    let clipped = try Method.transformed(
      "clipped", loss: try method("cross_entropy"), arguments: try arguments("cross_entropy"), input: "logits",
      by: try method("logit_clip"), try arguments("logit_clip", [("tau", .real(0.5))]))
    let instance = try LossInstance(clipped, try Arguments([], for: clipped.parameters), workers: oneWorker)
    let by = try operation("logit_clip", [("tau", .real(0.5))]).evaluate(["x": inputs["logits"]!])
    let expected = try loss("cross_entropy").evaluate(["logits": by, "targets": inputs["targets"]!])
    #expect(deviation(try numbers(try instance.evaluate(inputs)), try numbers(expected)) < 1e-14)
    let slope = try instance.valueAndGradient(inputs).gradients["logits"]!
    // Beyond the bound the gradient is orthogonal to the logits.
    let (g, z) = (try numbers(slope), try numbers(inputs["logits"]!))
    for row in [0..<3, 3..<6] { #expect(abs(row.reduce(0) { $0 + g[$1] * z[$1] }) < 1e-14) }
  }
}
