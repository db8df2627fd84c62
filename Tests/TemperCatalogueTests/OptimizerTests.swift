import Glibc
import TemperCatalogue
import TemperCore
import Testing

@Suite struct OptimizerTests {
  private func optimizer(
    _ name: String, _ settings: [(name: String, value: Value)] = [], clipping: GradientClipping = .init()
  ) throws -> OptimizerInstance {
    let method = try method(name)
    return try OptimizerInstance(
      method, try Arguments(settings, for: method.parameters), clipping: clipping, workers: oneWorker)
  }

  /// Five steps on w with gradient sin(w + t): the rule written out for one number.
  private func run(
    _ optimizer: OptimizerInstance, _ type: DType = .float64, _ rule: (inout Double, Double, Int) -> Void
  ) throws -> Double {
    let start = [0.5, -1, 2, 0, 3, -0.25, 1.5]
    var worst = 0.0
    let parameter = try Tensor(start).copy(as: type)
    for t in 1...5 {
      let gradient = try Tensor(try numbers(parameter).map { sin($0 + Double(t)) }).copy(as: type)
      try optimizer.step([parameter], [gradient])
    }
    var expected = start
    for i in start.indices {
      var w = start[i]
      for t in 1...5 { rule(&w, sin(w + Double(t)), t) }
      expected[i] = w
      optimizerReset()
    }
    worst = deviation(try numbers(parameter), expected)
    return worst
  }

  private func optimizerReset() { Self.memory = [:] }
  nonisolated(unsafe) private static var memory: [String: Double] = [:]

  @Test func sgdFollowsItsRule() throws {
    let plain = try optimizer("sgd", [("learning_rate", .real(0.1)), ("weight_decay", .real(0.01))])
    #expect(try run(plain) { w, g, _ in w -= 0.1 * (g + 0.01 * w) } < 1e-14)
    for isNesterov in [false, true] {
      let settings: [(name: String, value: Value)] = [
        ("lr", .real(0.1)), ("momentum", .real(0.9)), ("dampening", .real(isNesterov ? 0 : 0.3)),
        ("nesterov", .boolean(isNesterov)),
      ]
      var b = 0.0
      let worst = try run(try optimizer("sgd", settings)) { w, g, t in
        b = t == 1 ? g : 0.9 * b + (isNesterov ? 1 : 0.7) * g
        w -= 0.1 * (isNesterov ? g + 0.9 * b : b)
      }
      #expect(worst < 1e-14)
    }
  }

  @Test(arguments: ["adam", "adamw"], [false, true]) func adamFollowsItsRule(_ name: String, _ isMax: Bool) throws {
    let settings: [(name: String, value: Value)] = [
      ("learning_rate", .real(0.05)), ("weight_decay", .real(0.1)), ("amsgrad", .boolean(isMax)),
    ]
    var (m, v, top) = (0.0, 0.0, 0.0)
    func rule(_ w: inout Double, _ slope: Double, _ t: Int) {
      if t == 1 { (m, v, top) = (0, 0, 0) }
      var g = slope
      if name == "adam" { g += 0.1 * w } else { w *= 1 - 0.05 * 0.1 }
      m = 0.9 * m + 0.1 * g
      v = 0.999 * v + 0.001 * g * g
      top = max(top, v)
      let scale = ((isMax ? top : v) / (1 - pow(0.999, Double(t)))).squareRoot() + 1e-8
      w -= 0.05 * (m / (1 - pow(0.9, Double(t)))) / scale
    }
    #expect(try run(try optimizer(name, settings), .float64, rule) < 1e-13)
    #expect(try run(try optimizer(name, settings), .float32, rule) < 1e-5)
  }

  /// Saved and loaded in the middle, a run ends with the same bits.
  @Test func stateMovesToAnotherInstance() throws {
    func gradients(_ t: Int) throws -> [Tensor] {
      [try Tensor([sin(Double(t)), 1, -2]), try Tensor([cos(Double(t)), 0.5], shape: [1, 2]).copy(as: .float32)]
    }
    let whole = try optimizer("adamw", [("amsgrad", .boolean(true))])
    let a = [try Tensor([1.0, 2, 3]), try Tensor([1.0, 2], shape: [1, 2]).copy(as: .float32)]
    let b = [try a[0].copy(), try a[1].copy()]
    for t in 1...6 { try whole.step(a, try gradients(t)) }
    let first = try optimizer("adamw", [("amsgrad", .boolean(true))])
    for t in 1...3 { try first.step(b, try gradients(t)) }
    let second = try optimizer("adamw", [("amsgrad", .boolean(true))])
    #expect(
      first.stateDictionary.map(\.name).prefix(3) == ["0.first_moment", "0.second_moment", "0.largest_second_moment"])
    try second.load(step: first.step, first.stateDictionary)
    for t in 4...6 { try second.step(b, try gradients(t)) }
    #expect(second.step == 6)
    for (x, y) in zip(a, b) { #expect(try numbers(x) == numbers(y)) }
    #expect(throws: TemperError.self) { try second.load(step: 1, [("0.first_moment", try Tensor([1.0]))]) }
    #expect(throws: TemperError.self) { try second.load(step: -1, first.stateDictionary) }
  }

  @Test func stridedParametersAreWrittenInPlace() throws {
    let wide = try Tensor([1.0, 10, 2, 20, 3, 30], shape: [3, 2])
    let column = try Tensor(storage: wide.storage, byteOffset: 0, dtype: .float64, shape: [3], strides: [2])
    let sgd = try optimizer("sgd", [("learning_rate", .real(1))])
    try sgd.step([column], [try Tensor([Float(0.5), 0.5, 0.5])])
    #expect(try numbers(wide) == [0.5, 10, 1.5, 20, 2.5, 30])
  }

  @Test func gradientsAreClipped() throws {
    let parameters = { [try Tensor([0.0]), try Tensor([0.0, 0], shape: [2, 1])] }
    let gradients = [try Tensor([3.0]), try Tensor([0.0, -4], shape: [2, 1])]
    for (bound, scale) in [(1.0, 0.2), (5.0, 1), (9.0, 1)] {
      let w = try parameters()
      let sgd = try optimizer("sgd", [("learning_rate", .real(1))], clipping: .init(norm: bound))
      try sgd.step(w, gradients)
      #expect(deviation(try numbers(w[0]) + numbers(w[1]), [-3 * scale, 0, 4 * scale]) < 1e-15)
    }
    let w = try parameters()
    try optimizer("sgd", [("learning_rate", .real(1))], clipping: .init(value: 2)).step(w, gradients)
    #expect(try numbers(w[0]) + numbers(w[1]) == [-2, 0, 2])
    #expect(throws: TemperError.self) { try optimizer("sgd", clipping: .init(norm: 0)) }
  }

  /// A wrong call changes nothing.
  @Test func wrongStepsAreErrors() throws {
    let adam = try optimizer("adam")
    let (w, g) = (try Tensor([1.0, 2]), try Tensor([0.1, 0.1]))
    try adam.step([w], [g], learningRate: 0)
    let bad: [([Tensor], [Tensor])] = [
      ([w], []), ([w, w], [g, g]), ([w], [try Tensor([0.1])]), ([try Tensor([Int32(1), 2])], [g]),
      ([try w.copy(as: .float32)], [g]), ([try Tensor([1.0])], [try Tensor([1.0])]),
    ]
    for (parameters, gradients) in bad {
      #expect(throws: TemperError.self) { try adam.step(parameters, gradients) }
    }
    #expect(try numbers(w) == [1, 2] && adam.step == 1)
    #expect(throws: TemperError.self) { try optimizer("cosine") }
  }
}

@Suite struct ScheduleTests {
  private func schedule(_ name: String, _ settings: [(name: String, value: Value)] = []) throws -> ScheduleInstance {
    let method = try method(name)
    return try ScheduleInstance(method, try Arguments(settings, for: method.parameters))
  }

  private func values(_ schedule: ScheduleInstance, _ steps: [Double]) -> [Double] {
    steps.map { schedule.value(at: $0) }
  }

  @Test func schedulesFollowTheirFormulas() throws {
    #expect(values(try schedule("constant", [("lr", .real(0.3))]), [0, 9, 1e9]) == [0.3, 0.3, 0.3])
    let steps = try schedule("step", [("learning_rate", .real(8)), ("step_size", .integer(10)), ("gamma", .real(0.5))])
    #expect(values(steps, [0, 9, 10, 29, 30]) == [8, 8, 4, 2, 1])
    let cosine = try schedule(
      "cosine", [("learning_rate", .real(3)), ("total_steps", .integer(8)), ("minimum", .real(1))])
    #expect(deviation(values(cosine, [0, 4, 8, 100]), [3, 2, 1, 1]) < 1e-15)
    let warm = try schedule("linear_warmup", [("warmup_steps", .integer(4)), ("start_factor", .real(0.5))])
    #expect(values(warm, [0, 2, 4, 5]) == [0.5, 0.75, 1, 1])
    #expect(values(try schedule("exponential", [("gamma", .real(0.5))]), [0, 1, 3]) == [1, 0.5, 0.125])
  }

  @Test func schedulesCompose() throws {
    func composed(_ name: String, _ parts: String) throws -> ScheduleInstance {
      let given: [(name: String, value: Value)] = [("schedules", .text(parts))]
      let method = try catalogue.resolve(try method(name), given)
      return try ScheduleInstance(method, try Arguments(given, for: method.parameters))
    }
    let (warm, fall) = (
      "{\"linear_warmup\": {\"warmup_steps\": 2}", "{\"step\": {\"step_size\": 2, \"gamma\": 0.5}}"
    )
    #expect(values(try composed("product", "[\(warm)}, \(fall)]"), [0, 1, 2, 4]) == [0, 0.5, 0.5, 0.25])
    let both = try composed("sequence", "[\(warm), \"steps\": 2}, \(fall)]")
    #expect(values(both, [0, 1, 2, 3, 4]) == [0, 0.5, 1, 1, 0.5])
  }
}
