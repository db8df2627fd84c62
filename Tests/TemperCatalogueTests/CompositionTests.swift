import TemperCatalogue
import TemperCore
import TemperGraph
import Testing

@Suite struct CompositionTests {
  private let inputs = [
    "logits": try! Tensor([0.2, -1, 3, 0.5, 0.1, 2], shape: [2, 3]), "targets": try! Tensor([Int32(2), 0]),
  ]

  private func sum(_ terms: [(String?, Double, LossInstance)]) throws -> LossInstance {
    try LossInstance.sum(terms.map { (name: $0.0, weight: $0.1, loss: $0.2) })
  }

  @Test func sumsOfLosses() throws {
    let smooth = try loss("cross_entropy", [("label_smoothing", .real(0.1))])
    let (gce, ce) = (try loss("generalized_cross_entropy"), try loss("cross_entropy"))
    let total = try sum([(nil, 0.25, smooth), (nil, 2, gce), (nil, 1, ce)])
    #expect(total.method.parameters.map(\.name).contains("cross_entropy_2.label_smoothing"))
    func value(_ settings: [(name: String, value: Value)] = []) throws -> [Double] {
      let arguments = try Arguments(settings, for: total.method.parameters)
      return try numbers(try LossInstance(total.method, arguments, workers: oneWorker).evaluate(inputs))
    }
    let parts = try [smooth, gce, ce].map { try numbers(try $0.evaluate(inputs)) }
    #expect(deviation(try value(), (0..<2).map { 0.25 * parts[0][$0] + 2 * parts[1][$0] + parts[2][$0] }) < 1e-14)
    // Parameters of parts move as any others: this is what a schedule does.
    let moved = try value([("generalized_cross_entropy.weight", .real(0)), ("cross_entropy.label_smoothing", .real(0))])
    #expect(deviation(moved, parts[2].map { 1.25 * $0 }) < 1e-14)
  }

  @Test func sumsKeepStateAndIgnoredSamples() throws {
    let total = try sum([(nil, 1, try loss("elr_loss")), ("slow", 1, try loss("elr_loss", [("beta", .real(0.9))]))])
    let states = try total.updatedState(inputs)
    #expect(Set(states.keys) == ["ema_targets", "slow.ema_targets"])
    let own = try loss("elr_loss", [("beta", .real(0.9))]).updatedState(inputs)["ema_targets"]!
    #expect(try numbers(states["slow.ema_targets"]!) == numbers(own))
    // The state's initial value is a parameter of the part.
    let adaptive = try sum([("a", 1, try loss("ldr_kl_loss", [("lambda0", .real(3))]))])
    #expect(adaptive.method.state.map { $0.initialValue(adaptive.arguments) } == [3])
    let mixed = try sum([(nil, 1, try loss("cross_entropy")), (nil, 1, try loss("partial_fc"))])
    #expect(mixed.method.inputs.first { $0.name == "targets" }!.forms.count == 1)
    #expect(throws: TemperError.self) { try sum([(nil, 1, try loss("mse")), (nil, 1, try loss("partial_fc"))]) }
  }

  @Test func logitsThroughAnOperator() throws {
    let clip = try operation("logit_clip", [("tau", .real(0.5))])
    let clipped = try loss("cross_entropy").through(clip, input: "logits")
    let by = try clip.evaluate(["x": inputs["logits"]!])
    let expected = try loss("cross_entropy").evaluate(["logits": by, "targets": inputs["targets"]!])
    #expect(deviation(try numbers(try clipped.evaluate(inputs)), try numbers(expected)) < 1e-14)
    let slope = try clipped.valueAndGradient(inputs).gradients["logits"]!
    // Beyond the bound the gradient is orthogonal to the logits.
    let (g, z) = (try numbers(slope), try numbers(inputs["logits"]!))
    for row in [0..<3, 3..<6] { #expect(abs(row.reduce(0) { $0 + g[$1] * z[$1] }) < 1e-14) }
  }

  /// Weights stay outside of the plan; what a formula reads as a number is built in.
  @Test func numbersThatMoveAreLive() throws {
    let total = try sum([("a", 1, try loss("cross_entropy")), ("b", 1, try loss("generalized_cross_entropy"))])
    let numbers = ["a.weight", "b.q"].reduce(into: [String: Expression]()) { $0[$1] = .input($1, []) }
    let built = try total.build(
      ["logits": .input("logits", [2, 3]), "targets": .input("targets", [2, 1], .index)], numbers: numbers)
    #expect(built.live == ["a.weight"])
  }

  /// What an argmax gives is a number, which a loss would take for a probability.
  @Test func inputsInAGraphHaveTheShapesOfTheRecord() throws {
    func build(_ targets: Expression) throws {
      _ = try loss("cross_entropy").build(["logits": .input("logits", [2, 3]), "targets": targets])
    }
    try build(.input("targets", [2, 1], .index))
    try build(.input("targets", [2, 3]))
    for targets in [
      Expression.input("targets", [2, 1]), .input("targets", [2, 2]), .input("targets", [3, 1], .index),
    ] {
      #expect(throws: TemperError.self) { try build(targets) }
    }
  }
}
