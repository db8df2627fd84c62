import TemperCore
import TemperReference
import Testing

@testable import TemperGraph

/// Inputs with fixed pseudo-random values, and how far a plan may be from the reference.
struct Case: Sendable, CustomTestStringConvertible {
  let name: String
  let inputs: [(String, Shape, Kind)]
  /// Values lie in this range.
  var range = -1.5...1.5
  /// Index inputs are below this.
  var below = 3
  /// Whether the operation has a derivative to check by finite differences.
  var differentiable = true
  let build: @Sendable ([Expression]) -> Expression
  var testDescription: String { name }

  init(
    _ name: String, _ shapes: [Shape], range: ClosedRange<Double> = -1.5...1.5, index: [Shape] = [], below: Int = 3,
    differentiable: Bool = true, build: @escaping @Sendable ([Expression]) -> Expression
  ) {
    self.name = name
    inputs =
      shapes.enumerated().map { ("x\($0.offset)", $0.element, Kind.real) }
      + index.enumerated().map { ("i\($0.offset)", $0.element, Kind.index) }
    (self.range, self.below, self.differentiable, self.build) = (range, below, differentiable, build)
  }

  var expressions: [Expression] { inputs.map { .input($0.0, $0.1, $0.2) } }

  var values: [String: [Double]] {
    var random = Random(seed: 11, stream: name)
    return Dictionary(
      uniqueKeysWithValues: inputs.map { name, shape, kind in
        (
          name,
          (0..<shape.count).map { _ in
            kind == .index
              ? Double(random.below(below))
              : range.lowerBound + random.uniform() * (range.upperBound - range.lowerBound)
          }
        )
      })
  }
}

let workers = Workers(count: 2)

func run(
  _ outputs: [Expression], _ inputs: [(String, Shape, Kind)], _ values: [String: [Double]], _ type: DType = .float64,
  workers: Workers = workers
) throws -> [[Double]] {
  let plan = try Plan(outputs.map { Output($0) }, type: type)
  let execution = try Execution(plan, workers: workers)
  for (name, shape, kind) in inputs where execution.inputIndex(name) != nil {
    try execution.bind(name, to: try Tensor(values[name]!, shape: shape).copy(as: kind == .index ? .int32 : type))
  }
  try execution.run()
  return try outputs.indices.map { try execution.output($0).array(of: Double.self) }
}

func expectClose(_ a: [Double], _ b: [Double], _ tolerance: Double, _ what: String) {
  #expect(a.count == b.count, "\(what)")
  for (index, (x, y)) in zip(a, b).enumerated() {
    let close = x == y || x.isNaN && y.isNaN || abs(x - y) <= tolerance * (1 + max(abs(x), abs(y)))
    #expect(close, "\(what)[\(index)]: \(x) against \(y)")
    if !close { return }
  }
}

@Suite struct PlanTests {
  static let cases: [Case] = elementwise + rows + shapes + products + compositions

  static let elementwise: [Case] =
    Unary.allCases.map { unary in
      let ranges: [Unary: ClosedRange<Double>] = [
        .sqrt: 0.1...3, .log: 0.1...3, .reciprocal: 0.3...2, .log1p: -0.5...2, .logGamma: 0.2...6, .digamma: 0.3...6,
        .inverseErf: -0.9...0.9, .abs: 0.1...2,
      ]
      let flat: Set<Unary> = [.sign, .floor, .ceil, .round, .not, .isFinite]
      return Case("\(unary)", [[5, 7]], range: ranges[unary] ?? -1.5...1.5, differentiable: !flat.contains(unary)) {
        .unary(unary, $0[0])
      }
    }
    + Binary.allCases.map { binary in
      let flat: Set<Binary> = [.equal, .notEqual, .less, .lessEqual, .and, .or]
      return Case(
        "\(binary)", [[4, 1, 6], [3, 6]], range: 0.4...1.9, differentiable: !flat.contains(binary)
      ) { .binary(binary, $0[0], $0[1]) }
    } + [
      Case("select", [[4, 5], [4, 5], [5]]) { .select($0[0] .> 0, $0[1] * $0[1], $0[2]) },
      Case("power constant", [[9]], range: 0.2...2) { pow($0[0], 2.7) },
      Case("equal index", [[4, 3]], index: [[4, 1]]) { $0[0] * (.iota([4, 3]) .== $0[1]) },
      Case("scalar times", [[], [40, 50]]) { $0[0] * $0[1] + 1 },
    ]

  static let rows: [Case] =
    [3, 40, 1500].flatMap { columns -> [Case] in
      [
        Case("softmax \(columns)", [[5, columns]]) { square($0[0].softmax()) },
        Case("logSoftmax \(columns)", [[2, 3, columns]]) { $0[0].logSoftmax() * 0.3 },
        Case("cross-entropy \(columns)", [[6, columns]], index: [[6, 1]]) { $0[0].logSumExp() - $0[0].pick($0[1]) },
        Case("row statistics \(columns)", [[4, columns]]) {
          let centred = $0[0] - $0[0].mean()
          return centred / sqrt(square(centred).mean() + 0.1)
        },
        Case("extrema \(columns)", [[4, columns]]) { $0[0].maximum() * 2 - $0[0].minimum() },
        Case("argmax \(columns)", [[4, columns]], differentiable: false) { $0[0].argmax() + 10 * $0[0].argmin() },
        Case("place \(columns)", [[4, 1], [4, columns]], index: [[4, 1]]) {
          Expression.place($0[0], at: $0[2], columns: columns) + square($0[1])
        },
        Case("row weights \(columns)", [[4, columns], [4, 1], [columns]]) { ($0[0] * $0[1] * $0[2]).sum() * $0[1] },
        Case("product \(columns)", [[3, columns]], range: 0.9...1.1) { $0[0].product() },
      ]
    } + [
      Case("product with a zero", [[2, 4]]) { (($0[0] + .iota([2, 4])) * .iota([2, 4])).product() },
      Case("one column", [[6, 1]]) { $0[0].softmax() + $0[0].logSumExp() },
      Case("one element", [[]]) { exp($0[0]) * 2 },
    ]

  static let shapes: [Case] = [
    Case("transpose", [[3, 4], [4, 3]]) { $0[0].transposed * $0[1] },
    Case("permute", [[2, 3, 4]]) { exp($0[0].permuted([2, 0, 1])) },
    Case("reshape of permute", [[2, 3, 4]]) { sin($0[0].permuted([1, 0, 2]).reshaped([6, 4])) },
    Case("slice", [[5, 6]]) { $0[0].slice(1..<4) * $0[0].slice(2..<5).slice(0..<6, axis: 1) },
    Case("slices that meet, overlap and leave gaps", [[9, 4]]) {
      let x = square($0[0])
      let a = x.slice(1..<3) * x.slice(3..<5)
      let b = x.slice(4..<8).slice(1..<3) * sin(x.slice(0..<2))
      return a * b + x.slice(1..<3, axis: 1).slice(6..<8).sum()
    },
    Case("slice columns", [[5, 6]]) { square($0[0].slice(2..<5, axis: 1)).sum() },
    Case("concatenate", [[2, 3], [2, 1], [2, 4]]) { square(.concatenate([$0[0], $0[1] * 2, $0[2]], axis: 1)) },
    Case("pad", [[2, 3]]) { square($0[0].padded(before: 1, after: 2, axis: 0)) },
    Case("sum of an axis", [[3, 4, 5]]) { square($0[0].sum(axis: 1)) },
    Case("sum of the first", [[30, 7]]) { square($0[0].sum(axis: 0)) },
    Case("maximum of an axis", [[3, 4, 5]]) { $0[0].maximum(axis: 0) * $0[0] },
    Case("sum of axes", [[2, 3, 4, 5]]) { square($0[0].mean(axes: [0, 2, 3])) },
    Case("broadcast back", [[3, 1, 2], [4, 1]]) { square($0[0] + $0[1]) },
    Case("sum of all", [[300, 150]]) { square($0[0]).sumAll() },
    Case("nothing", [[0, 3], [2, 0]]) {
      $0[0].sum(axis: 0) + $0[1].sum().sumAll() + Expression.matmul($0[1], $0[0]).sumAll()
    },
    Case("cumulative sum", [[3, 7]]) { square($0[0].cumulativeSum()) + $0[0].cumulativeSum(reverse: true) },
    Case("sort", [[4, 9]]) { $0[0].sorted(descending: true) * .iota([4, 9]) },
    Case("take along", [[4, 5]], index: [[4, 8]]) { square($0[0].takeAlong($0[1])) },
    Case("gather rows", [[3, 4]], index: [[2, 5]]) { square($0[0].gatherRows($0[1])) },
  ]

  static let products: [Case] =
    [(false, false), (true, false), (false, true), (true, true)].map { ta, tb in
      Case("matmul \(ta) \(tb)", [ta ? [4, 3] : [3, 4], tb ? [5, 4] : [4, 5]]) {
        square(.matmul($0[0], $0[1], transposeA: ta, transposeB: tb))
      }
    } + [
      Case("batched matmul", [[2, 1, 3, 4], [5, 4, 2]]) { square(.matmul($0[0], $0[1])) },
      Case("batch times matrix", [[2, 3, 4], [4, 5]]) { square(.matmul($0[0], $0[1])) },
      Case("matmul of views", [[2, 3, 4], [2, 4, 5]]) {
        .matmul($0[0].permuted([1, 0, 2]).reshaped([3, 8]), $0[1].reshaped([8, 5]))
      },
      Case("convolution", [[2, 4, 6, 5], [6, 2, 3, 2]]) {
        square($0[0].convolved(with: $0[1], Convolution(stride: [2, 1], padding: [1, 1], groups: 2)))
      },
      Case("dilated convolution", [[1, 2, 7, 7], [3, 2, 3, 3]]) {
        square($0[0].convolved(with: $0[1], Convolution(dilation: [2, 2])))
      },
      Case("max pool", [[2, 3, 5, 6]]) {
        square($0[0].maxPooled(Window(size: [2, 3], stride: [2, 1], padding: [1, 0])))
      },
      Case("average pool", [[2, 3, 5, 6]]) {
        square($0[0].averagePooled(Window(size: [3, 2], stride: [2, 2], padding: [1, 1])))
      },
    ]

  static let compositions: [Case] = [
    Case("network", [[6, 5], [7, 5], [7], [3, 7], [3]], index: [[6, 1]]) {
      let h = relu(.matmul($0[0], $0[1], transposeB: true) + $0[2])
      let z = Expression.matmul(h, $0[3], transposeB: true) + $0[4]
      return (z.logSumExp() - z.pick($0[5])).meanAll()
    },
    Case("attention", [[2, 4, 3], [2, 4, 3], [2, 4, 5]]) {
      .matmul((Expression.matmul($0[0], $0[1], transposeB: true) * 0.5).softmax(), $0[2])
    },
    Case("batch normalization", [[4, 3, 2, 2], [3]]) {
      let centred = $0[0] - $0[0].mean(axes: [0, 2, 3])
      return centred / sqrt(square(centred).mean(axes: [0, 2, 3]) + 0.1) * $0[1].reshaped([1, 3, 1, 1])
    },
    Case("many values", [[8, 20]]) { x in
      (0..<300).reduce(x[0]) { y, step in y * 0.99 + sin(y + Double(step)) * 0.01 }.logSumExp()
    },
  ]

  @Test(arguments: cases) func agreesWithTheReference(_ test: Case) throws {
    let output = test.build(test.expressions)
    var reference = ReferenceInterpreter(test.values)
    let expected = try reference.evaluate(output)
    expectClose(try run([output], test.inputs, test.values)[0], expected, 1e-12, "float64")
    expectClose(try run([output], test.inputs, test.values, .float32)[0], expected, 2e-5, "float32")
  }

  /// Both derivatives against central differences of the reference, along a random direction.
  @Test(arguments: cases.filter(\.differentiable)) func derivativesMatchDifferences(_ test: Case) throws {
    let x = test.expressions
    let real = x.indices.filter { x[$0].kind == .real }
    let seed = { (shape: Shape) -> Expression in
      shape.count == 0 ? .zeros(shape) : cos(Expression.iota([shape.count]) * 1.3 + 0.4).reshaped(shape)
    }
    let output = test.build(x)
    let scalar = (output * seed(output.shape)).sumAll()
    try check(scalar, test, real.map { x[$0] }, tolerance: 2e-7)
    let gradients = try Differentiate.gradients(of: scalar, withRespectTo: real.map { x[$0] })
    let slope = gradients.reduce(Expression.constant(0)) { $0 + ($1 * seed($1.shape)).sumAll() }
    try check(slope, test, real.map { x[$0] }, tolerance: 2e-6)
  }

  private func check(_ scalar: Expression, _ test: Case, _ variables: [Expression], tolerance: Double) throws {
    let gradients = try Differentiate.gradients(of: scalar, withRespectTo: variables)
    let values = test.values
    let computed = try run(gradients, test.inputs, values)
    var random = Random(seed: 5, stream: test.name)
    let directions = variables.map { variable in (0..<variable.shape.count).map { _ in random.uniform() - 0.5 } }
    let slope = zip(computed, directions).reduce(0) { $0 + zip($1.0, $1.1).reduce(0) { $0 + $1.0 * $1.1 } }
    func shifted(_ h: Double) throws -> Double {
      var moved = values
      for (variable, direction) in zip(variables, directions) {
        guard case .input(let name) = variable.node.operation else { continue }
        moved[name] = zip(values[name]!, direction).map { $0 + h * $1 }
      }
      var reference = ReferenceInterpreter(moved)
      return try reference.evaluate(scalar)[0]
    }
    let h = 1e-4
    let difference = try (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h)
    expectClose([slope], [difference], tolerance, "directional derivative")
  }

  @Test func threadsDoNotChangeBits() throws {
    let x = Expression.input("x", [700, 1300])
    let y = Expression.input("y", [1300, 90])
    let z = Expression.matmul(x.softmax(), y)
    let outputs = [
      z.logSumExp().sumAll(), try Differentiate.gradients(of: z.logSumExp().sumAll(), withRespectTo: [y])[0],
    ]
    let test = Case("bits", [[700, 1300], [1300, 90]]) { $0[0] }
    let values = ["x": test.values["x0"]!, "y": test.values["x1"]!]
    let inputs: [(String, Shape, Kind)] = [("x", [700, 1300], .real), ("y", [1300, 90], .real)]
    let one = try run(outputs, inputs, values, .float32, workers: Workers(count: 1))
    let three = try run(outputs, inputs, values, .float32, workers: Workers(count: 3))
    #expect(one == three)
  }

  @Test func updatesInPlace() throws {
    let (p, g, m) = (Expression.input("p", [10]), Expression.input("g", [10]), Expression.input("m", [10]))
    let newM = m * 0.5 + g
    // q reads the old p although p is written in place: it must not see the new one.
    let plan = try Plan(
      [Output(p - 0.1 * newM, inPlaceOf: "p"), Output(newM, inPlaceOf: "m"), Output((p * p).sumAll()), Output(p)],
      type: .float64)
    let execution = try Execution(plan, workers: workers)
    let (tp, tm) = (try Tensor([Double](repeating: 1, count: 10)), try Tensor([Double](repeating: 2, count: 10)))
    try execution.bind("p", to: tp)
    try execution.bind("m", to: tm)
    try execution.bind("g", to: try Tensor([Double](repeating: 3, count: 10)))
    try execution.run()
    #expect(try tp.array(of: Double.self) == [Double](repeating: 1 - 0.1 * 4, count: 10))
    #expect(try tm.array(of: Double.self) == [Double](repeating: 4, count: 10))
    #expect(try execution.output(2).array(of: Double.self) == [10])
    #expect(try execution.output(3).array(of: Double.self) == [Double](repeating: 1, count: 10))
  }

  /// "last" is written with -g, which is known before anything reads the old "last".
  @Test func readsBeforeItWritesInPlace() throws {
    let (p, g, last) = (Expression.input("p", [9]), Expression.input("g", [9]), Expression.input("last", [9]))
    let slope = -g
    let moved = p * slope * slope + (slope - last)
    let execution = try Execution(
      try Plan([Output(moved, inPlaceOf: "p"), Output(slope, inPlaceOf: "last")], type: .float64), workers: workers)
    let (tp, tl) = (try Tensor([Double](repeating: 2, count: 9)), try Tensor([Double](repeating: 7, count: 9)))
    try execution.bind("p", to: tp)
    try execution.bind("last", to: tl)
    try execution.bind("g", to: try Tensor([Double](repeating: 3, count: 9)))
    try execution.run()
    #expect(try tp.array(of: Double.self) == [Double](repeating: 18 - 10, count: 9))
    #expect(try tl.array(of: Double.self) == [Double](repeating: -3, count: 9))
  }

  @Test func exchangesTwoInputsInPlace() throws {
    let (a, b) = (Expression.input("a", [3]), Expression.input("b", [3]))
    let execution = try Execution(
      try Plan([Output(b, inPlaceOf: "a"), Output(a, inPlaceOf: "b")], type: .float64), workers: workers)
    let (ta, tb) = (try Tensor([1, 2, 3] as [Double]), try Tensor([4, 5, 6] as [Double]))
    try execution.bind("a", to: ta)
    try execution.bind("b", to: tb)
    try execution.run()
    #expect(try ta.array(of: Double.self) == [4, 5, 6])
    #expect(try tb.array(of: Double.self) == [1, 2, 3])
  }

  @Test func uniformsDependOnTheClockOnly() throws {
    let clock = Expression.input("clock", [4], .index)
    let u = Expression.uniform([100, 130], clock: clock, stream: 1)
    let v = Expression.uniform([100, 130], clock: clock, stream: 2)
    let inputs: [(String, Shape, Kind)] = [("clock", [4], .index)]
    let a = try run([u, v, (u .< 0.25).sumAll()], inputs, ["clock": [3, 1, 7, 0]])
    let b = try run([u + 0, v], inputs, ["clock": [3, 1, 8, 0]])
    let c = try run([u], inputs, ["clock": [3, 1, 7, 0]], workers: Workers(count: 1))
    #expect(a[0] == c[0])
    #expect(a[0] != a[1])
    #expect(a[0] != b[0])
    #expect(a[0].allSatisfy { $0 >= 0 && $0 < 1 })
    #expect(abs(a[2][0] / 13000 - 0.25) < 0.02)
  }

  @Test func errorsSurfaceWhenPlanned() {
    let x = Expression.input("x", [2, 3])
    #expect(throws: TemperError.self) { _ = try Plan([Output(exp(x + .input("y", [4])))]) }
    #expect(throws: TemperError.self) { _ = try Plan([Output(.matmul(x, x))]) }
    #expect(throws: TemperError.self) { _ = try Plan([Output(x.sum(axis: 5))]) }
    #expect(throws: TemperError.self) { _ = try Plan([Output(x)], type: .int32) }
    #expect(throws: TemperError.self) { _ = try Plan([Output(x, inPlaceOf: "x"), Output(x + 1, inPlaceOf: "x")]) }
    #expect(throws: TemperError.self) { _ = try Plan([Output(x.reshaped([1 << 62, 1 << 62]))]) }
    #expect(throws: TemperError.self) { _ = try Plan([Output(x.expanded(1).broadcast(to: [2, 1 << 60, 3]))]) }
    #expect(throws: TemperError.self) { _ = try Plan([Output(.zeros([1 << 40, 1 << 40]).sumAll() + x)]) }
    let image = Expression.input("i", [1, 1, 4, 4])
    #expect(throws: TemperError.self) {
      _ = try Plan([Output(image.convolved(with: .input("w", [1, 1, 1, 1]), Convolution(padding: [.max, .max])))])
    }
    #expect(throws: TemperError.self) {
      _ = try Plan([Output(image.maxPooled(Window(size: [.max, 1], stride: [1, 1])))])
    }
    #expect(throws: TemperError.self) { _ = try Plan([Output(x + .input("x", [1, 3]))]) }
  }

  @Test func longChainsNeitherOverflowNorSlow() throws {
    var x = Expression.input("x", [2])
    for step in 0..<20_000 { x = sin(x + Double(step % 7)) }
    let gradient = try Differentiate.gradients(of: x, withRespectTo: [x])
    #expect(gradient[0].shape == [2])
    _ = try Plan([Output(x)])
    for _ in 0..<400_000 { x = -x + 1 }  // only built and let go: deep enough to end a recursive release
  }

  @Test func fusionLeavesOneStep() throws {
    let z = Expression.input("z", [64, 10])
    let y = Expression.input("y", [64, 1], .index)
    let loss = z.logSumExp() - z.pick(y)
    let gradient = try Differentiate.gradients(of: loss, withRespectTo: [z])[0]
    #expect(try Plan([Output(loss), Output(gradient)]).stepCount == 1)
  }

  /// A gradient that is divided by what the batch gives is made in one pass, and the exponentials are not stored.
  @Test func whatWaitsForTheBatchIsNotStored() throws {
    let (z, y) = (Expression.input("z", [64, 2000]), Expression.input("y", [64, 1], .index))
    let isIgnored = y .== -100
    let values = Expression.select(isIgnored, .constant(0), z.logSumExp() - z.pick(y))
    let loss = values.sumAll() / maximum(not(isIgnored).sumAll(), 1)
    let gradient = try Differentiate.gradients(of: loss, withRespectTo: [z])[0]
    let plan = try Plan([Output(loss), Output(gradient)])
    #expect(plan.memoryBytes < 64 * 2000, "\(plan.memoryBytes)")
  }

  /// Negatives, multiples and places are looked through, and the values stay what they were.
  @Test func simplificationKeepsValues() throws {
    let (x, i) = (Expression.input("x", [5, 4]), Expression.input("i", [5, 1], .index))
    let place = Expression.place(x.sum(), at: i, columns: 4)
    // `apart` keeps an operand from being looked through.
    let pairs: [(Expression, Expression)] = [
      (-(-x), x), (x - (-x), x + x), (x + (-x), x - x.apart), ((-x).sum(), -(x.apart.sum())),
      ((x * 3).maximum(), (x * 3).apart.maximum()), ((x * -3).maximum(), (x * -3).apart.maximum()),
      ((x + place) + x, (x + place.apart) + x), (place + place, place.apart + place.apart),
      (x - place, x - place.apart), (place * 2.5, place.apart * 2.5), (place * x.maximum(), place.apart * x.maximum()),
      ((x + place) + (x + place), (x + place).apart + (x + place).apart), (-place, -(place.apart)),
    ]
    let inputs: [(String, Shape, Kind)] = [("x", [5, 4], .real), ("i", [5, 1], .index)]
    let values = ["x": (0..<20).map { Double($0 * 7 % 11) - 4.5 }, "i": [0, 3, 1, 9, 2]]
    for (number, (simple, plain)) in pairs.enumerated() {
      let results = try run([simple, plain], inputs, values)
      #expect(zip(results[0], results[1]).allSatisfy { abs($0 - $1) < 1e-12 }, "pair \(number): \(results)")
    }
  }

  /// -(-x) is x, so the slope by the inner negative would be 0: an error, or the right slope where it stands apart.
  @Test func derivativesByWhatIsSeenThroughAreErrors() throws {
    let x = Expression.input("x", [3, 4])
    let places = x + .place(Expression.input("v", [3, 1]), at: .input("at", [3, 1], .index), columns: 4)
    for computed in [-x, places, 2 * x] {
      #expect(throws: TemperError.self) {
        try Differentiate.gradients(of: exp(-3 * computed), withRespectTo: [computed])
      }
      let apart = computed.apart
      let slope = try Differentiate.gradients(of: exp(-apart), withRespectTo: [apart])[0]
      #expect(slope.constantValue != 0)
    }
  }

  /// An operation and its gradient are one step where what comes from above is known before the results are, and two where
  /// it is made of them.
  @Test(arguments: [true, false]) func gradientsJoinTheirOperation(isKnown: Bool) throws {
    @Sendable func results(_ x: Tensor, _ dy: Tensor?) throws(TemperError) -> [Tensor] {
      let a = try x.array(of: Double.self)
      let squares = try Tensor(a.map { $0 * $0 }, shape: x.shape)
      guard let dy = try dy?.array(of: Double.self) else { return [squares] }
      return [squares, try Tensor(zip(a, dy).map { 2 * $0 * $1 }, shape: x.shape)]
    }
    let joint = CustomOperation(name: "both", definition: { [square($0[0]), 2 * $0[0] * $0[1]] }) { _, _ in
      { (x, y) throws(TemperError) in
        for (result, place) in zip(try results(x[0], x[1]), y) { try place?.assign(from: result) }
      }
    }
    let slope = CustomOperation(name: "slope", definition: { [2 * $0[0] * $0[2]] }, joint: joint) { _, _ in
      { (x, y) throws(TemperError) in try y[0]?.assign(from: try results(x[0], x[2])[1]) }
    }
    let squaring = CustomOperation(
      name: "square", definition: { [square($0[0])] },
      gradient: { _, x, results, dy in [Expression.custom(slope, x + [results[0], dy])[0]] }
    ) { _, _ in { (x, y) throws(TemperError) in try y[0]?.assign(from: try results(x[0], nil)[0]) } }
    let x = Expression.input("x", [3, 1]), w = Expression.input("w", [3, 1])
    let squares = Expression.custom(squaring, [x])[0]
    let value = (isKnown ? w * squares : w * square(squares)).sumAll()
    let outputs = [value, try Differentiate.gradients(of: value, withRespectTo: [x])[0]]
    let steps = try Plan(outputs.map { Output($0) }, type: .float64).steps.filter {
      if case .custom = $0.work { true } else { false }
    }
    #expect(steps.count == (isKnown ? 1 : 2))
    let (a, weights) = ([0.5, -2, 3], [1.0, 2, 4])
    let found = try run(
      outputs, [("x", [3, 1], .real), ("w", [3, 1], .real)], ["x": a, "w": weights])
    let terms = a.map { isKnown ? $0 * $0 : $0 * $0 * $0 * $0 }
    let slopes = a.map { isKnown ? 2 * $0 : 4 * $0 * $0 * $0 }
    #expect(found[0] == [zip(terms, weights).reduce(0) { $0 + $1.0 * $1.1 }])
    #expect(found[1] == zip(slopes, weights).map { $0 * $1 })
  }
}
