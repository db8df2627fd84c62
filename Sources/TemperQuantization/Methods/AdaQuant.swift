import TemperCatalogue
import TemperCore

/// Tunes a layer's weights, biases and ranges until its rounded outputs are closest to those of the float layer.
///
/// Q(v) = D (round(clip(v / D + z, 0, 2^b − 1)) − z), D = max(r, 1e−6) / (2^b − 1), z = clip(round(−m / D), 0, 2^b − 1),
/// with a range r and a minimum m for each output of the weights and one of each for the inputs, from the measured ones on
/// (zero included). Minimises the mean of (Q(W) Q(x) + o − W x)² over W itself, o, and all r and m with Adam; rounding is
/// passed straight through, clipping has no gradient outside. The best of the iterates on all samples kept is the result;
/// the first of them is rounding to nearest.
package struct AdaQuant: Quantizer {
  package var name: String { "adaquant" }
  package let bits: Int
  package let inputBits: Int?
  package let iterations: Int
  package let batch: Int
  package let samples: Int
  package let rates: (weights: Float, offsets: Float, ranges: Float, inputs: Float)
  package var needsInputs: Bool { true }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let size = max(weight.columns, 1)
    var (minima, maxima) = try weight.ranges(groupSize: size, workers: workers)
    (minima, maxima) = (minima.map { min($0, 0) }, maxima.map { max($0, 0) })
    let values = try weight.values.array(of: Float.self)
    var state = State(
      weights: values, offsets: [Float](repeating: 0, count: weight.rows),
      ranges: zip(minima, maxima).map { $1 - $0 }, minima: minima, inputRange: [0], inputMinimum: [0])
    guard let inputs, weight.columns > 0 else { return try packed(weight, state, hasInputs: false, workers) }
    let count = min(inputs.kept.count / weight.columns, samples)
    let x = Array(inputs.kept[0..<(count * weight.columns)])
    let (low, high) = (min(x.min() ?? 0, 0), max(x.max() ?? 0, 0))
    (state.inputRange, state.inputMinimum) = ([high - low], [low])
    let layer = Layer(rows: weight.rows, columns: weight.columns, bits: bits, inputBits: inputBits, workers: workers)
    let y = try layer.product(x, values, count: count)
    var (best, least) = (state, try layer.loss(state, x, y, count: count))
    var random = Random(seed: 0, stream: name)
    var adam = Moments(state)
    let every = max(iterations / 20, 1)
    for iteration in 1...max(iterations, 1) where iterations > 0 {
      let chosen = (0..<min(batch, count)).map { _ in random.below(count) }
      let part = chosen.flatMap { x[($0 * weight.columns)..<(($0 + 1) * weight.columns)] }
      let target = chosen.flatMap { y[($0 * weight.rows)..<(($0 + 1) * weight.rows)] }
      let gradient = try layer.gradient(state, part, target, count: chosen.count)
      adam.step(&state, gradient, rates)
      if iteration % every == 0 || iteration == iterations {
        let loss = try layer.loss(state, x, y, count: count)
        if loss < least { (best, least) = (state, loss) }
      }
    }
    return try packed(weight, best, hasInputs: inputBits != nil, workers)
  }

  private func packed(
    _ weight: Weight, _ state: State, hasInputs: Bool, _ workers: Workers
  ) throws(TemperError) -> QuantizedMatrix {
    let cells = state.ranges.indices.map { LearnedRange(state.ranges[$0], state.minima[$0], bits: bits) }
    let groups = weight.columns > 0 ? 1 : 0
    let codes = state.weights.indices.map { UInt8(cells[$0 / weight.columns].code(state.weights[$0])) }
    let matrix = try PackedMatrix(
      shape: weight.shape, grid: try Grid(.asymmetric, bits: bits), groupSize: max(weight.columns, 1),
      scales: try Tensor(groups > 0 ? cells.map(\.step) : [], shape: [weight.rows, groups]),
      zeros: try Tensor(groups > 0 ? cells.map { UInt8($0.zero) } : [], shape: [weight.rows, groups]),
      looseCodes: try Tensor(codes, shape: [weight.rows, weight.columns]), workers: workers)
    var around = Adjustment()
    if state.offsets.contains(where: { $0 != 0 }) { around.offsets = try Tensor(state.offsets) }
    if hasInputs, let inputBits {
      let range = LearnedRange(state.inputRange[0], state.inputMinimum[0], bits: inputBits)
      around.inputGrid = try InputGrid(bits: inputBits, step: range.step, zero: Int(range.zero))
    }
    return try QuantizedMatrix(matrix, around)
  }
}

/// The grid that a range r and a minimum m stand for.
struct LearnedRange {
  let step: Float
  let zero: Float
  let highest: Float
  private let minimum: Float
  private let zeroMoves: Bool

  init(_ range: Float, _ minimum: Float, bits: Int) {
    highest = Float((1 << bits) - 1)
    step = max(range, 1e-6) / highest
    let wanted = (-minimum / step).rounded(.toNearestOrEven)
    zero = min(max(wanted, 0), highest)
    (self.minimum, zeroMoves) = (minimum, wanted >= 0 && wanted <= highest)
  }

  func code(_ value: Float) -> Float { min(max(value / step + zero, 0), highest).rounded(.toNearestOrEven) }
  func rounded(_ value: Float) -> Float { step * (code(value) - zero) }

  /// d Q / d value, d Q / d r and d Q / d m.
  func slopes(_ value: Float) -> (value: Float, range: Float, minimum: Float) {
    let place = value / step + zero
    if place >= 0, place <= highest { return (1, (code(value) - zero - value / step) / highest, 0) }
    // Q = D (end − z), z = −m / D.
    let end: Float = place < 0 ? 0 : highest
    let throughZero: Float = zeroMoves ? minimum / step : 0
    return (0, (end - zero - throughZero) / highest, zeroMoves ? 1 : 0)
  }
}

extension AdaQuant {
  /// What is tuned; gradients too.
  struct State {
    var weights: [Float]
    var offsets: [Float]
    var ranges: [Float]
    var minima: [Float]
    var inputRange: [Float]
    var inputMinimum: [Float]
  }

  struct Moments {
    private var (weights, offsets, ranges): (AdamState, AdamState, AdamState)
    private var (minima, inputRange, inputMinimum): (AdamState, AdamState, AdamState)

    init(_ state: State) {
      (weights, offsets) = (AdamState(count: state.weights.count), AdamState(count: state.offsets.count))
      (ranges, minima) = (AdamState(count: state.ranges.count), AdamState(count: state.minima.count))
      (inputRange, inputMinimum) = (AdamState(count: 1), AdamState(count: 1))
    }

    mutating func step(
      _ state: inout State, _ gradient: State, _ rates: (weights: Float, offsets: Float, ranges: Float, inputs: Float)
    ) {
      weights.step(&state.weights, gradient.weights, rate: rates.weights)
      offsets.step(&state.offsets, gradient.offsets, rate: rates.offsets)
      ranges.step(&state.ranges, gradient.ranges, rate: rates.ranges)
      minima.step(&state.minima, gradient.minima, rate: rates.ranges)
      inputRange.step(&state.inputRange, gradient.inputRange, rate: rates.inputs)
      inputMinimum.step(&state.inputMinimum, gradient.inputMinimum, rate: rates.inputs)
    }
  }

  /// The rounded layer and the gradient of its mean squared error.
  struct Layer {
    let rows: Int
    let columns: Int
    let bits: Int
    let inputBits: Int?
    let workers: Workers

    private func multiply(_ a: Tensor, _ b: Tensor) throws(TemperError) -> [Float] {
      let c = try Tensor(zeros: [a.shape[0], b.shape[1]], .float32)
      try MatrixProduct.run(a, b, into: c, workers: workers)
      return try c.array(of: Float.self)
    }

    /// x Wᵀ
    func product(_ x: [Float], _ weights: [Float], count: Int) throws(TemperError) -> [Float] {
      try multiply(
        try Tensor(x, shape: [count, columns]), try Tensor(weights, shape: [rows, columns]).permuted([1, 0]))
    }

    private func grids(_ state: State) -> (weights: [LearnedRange], inputs: LearnedRange?) {
      (
        state.ranges.indices.map { LearnedRange(state.ranges[$0], state.minima[$0], bits: bits) },
        inputBits.map { LearnedRange(state.inputRange[0], state.inputMinimum[0], bits: $0) }
      )
    }

    /// What the outputs miss, and the rounded inputs and weights.
    private func missed(
      _ state: State, _ x: [Float], _ y: [Float], count: Int
    ) throws(TemperError) -> (difference: [Float], inputs: [Float], weights: [Float]) {
      let grids = grids(state)
      let inputs = grids.inputs.map { grid in x.map { grid.rounded($0) } } ?? x
      let weights = state.weights.indices.map { grids.weights[$0 / columns].rounded(state.weights[$0]) }
      let found = try product(inputs, weights, count: count)
      return (found.indices.map { found[$0] + state.offsets[$0 % rows] - y[$0] }, inputs, weights)
    }

    func loss(_ state: State, _ x: [Float], _ y: [Float], count: Int) throws(TemperError) -> Double {
      let difference = try missed(state, x, y, count: count).difference
      return difference.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(max(difference.count, 1))
    }

    func gradient(_ state: State, _ x: [Float], _ y: [Float], count: Int) throws(TemperError) -> State {
      let (difference, inputs, weights) = try missed(state, x, y, count: count)
      let scale = 2 / Float(max(difference.count, 1))
      let slope = try Tensor(difference.map { $0 * scale }, shape: [count, rows])
      let onWeights = try multiply(try slope.permuted([1, 0]), try Tensor(inputs, shape: [count, columns]))
      let grids = grids(state)
      var result = State(
        weights: onWeights, offsets: [Float](repeating: 0, count: rows), ranges: [Float](repeating: 0, count: rows),
        minima: [Float](repeating: 0, count: rows), inputRange: [0], inputMinimum: [0])
      for index in onWeights.indices {
        let row = index / columns
        let part = grids.weights[row].slopes(state.weights[index])
        result.weights[index] *= part.value
        result.ranges[row] += onWeights[index] * part.range
        result.minima[row] += onWeights[index] * part.minimum
      }
      for index in difference.indices { result.offsets[index % rows] += difference[index] * scale }
      if let grid = grids.inputs {
        let onInputs = try multiply(slope, try Tensor(weights, shape: [rows, columns]))
        for index in onInputs.indices {
          let part = grid.slopes(x[index])
          result.inputRange[0] += onInputs[index] * part.range
          result.inputMinimum[0] += onInputs[index] * part.minimum
        }
      }
      return result
    }
  }

  static let method = Method(
    "adaquant", kind: .quantizer, area: "quant",
    summary: "Tunes weights, biases and ranges of a layer until its rounded outputs are closest to the float layer's.",
    reference: Reference(
      "Hubara et al.", 2020,
      "Improving Post Training Neural Quantization: Layer-wise Calibration and Integer Programming",
      arXiv: "2006.10518"),
    parameters: [
      .integer("bits_w", 4, in: 2...8, "Bits of a weight.").named(also: "bits"),
      .integer("bits_a", 4, in: 1...16, "Bits of an input; none leaves inputs floats.").orNone,
      .choice("optimizer", ["adam"], "What moves the numbers."),
      .real("lr_w", 1e-5, in: .nonNegative, "Learning rate of weights."),
      .real("lr_bias", 1e-3, in: .nonNegative, "Learning rate of biases."),
      .real("lr_range_w", 1e-3, in: .nonNegative, "Learning rate of the weights' ranges."),
      .real("lr_range_in", 0.1, in: .nonNegative, "Learning rate of the inputs' range."),
      .integer("iters", 1000, in: 0...1_000_000, "Steps."),
      .integer("batch", 50, in: 1...1024, "Samples of a step."),
      .integer("calib_samples", 1000, in: 1...InputStatistics.keptLimit, "Samples looked at, of all that came."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        AdaQuant(
          bits: arguments.integer("bits_w"), inputBits: arguments.optionalInteger("bits_a"),
          iterations: arguments.integer("iters"), batch: arguments.integer("batch"),
          samples: arguments.integer("calib_samples"),
          rates: (
            Float(arguments.real("lr_w")), Float(arguments.real("lr_bias")), Float(arguments.real("lr_range_w")),
            Float(arguments.real("lr_range_in"))
          ))
      }))
}
