import Glibc
import TemperCatalogue
import TemperCore

/// Learns where each group's grid ends and low-rank factors beside the codes; a penalty keeps salient weights in place.
///
/// s = (σ(g₁) max W − σ(g₂) min W) / (2^b − 1), z = round(−σ(g₂) min W / s), W_q = s (clip(round(W / s) + z, 0, 2^b − 1) −
/// z), and A B of rank r beside it, B zero at first. Minimises E|(W_q + A B − W) x|² + λ Σ S_ij (W_ij − E_ij)² with AdamW:
/// S are squared gradients of the float model's loss (where there is no loss: of outputs, E[x_j²]), E is W_q, or W_q + A B.
/// The penalty counts in the first part of the iterations only. λ "auto" makes both terms alike at the start.
package struct SaliencyRegularized: Quantizer {
  package var name: String { "saliency_regularized_quantization" }
  package let bits: Int
  package let rank: Int
  package let groupSize: Int
  /// nil: both terms alike at the start.
  package let strength: Double?
  package let countsAdapters: Bool
  package let isWeighted: Bool
  package let penaltyShare: Double
  package let iterations: Int
  package let rates: (clipping: Float, adapters: Float)
  package let seed: UInt64
  package var needsInputs: Bool { true }
  package var needsSaliency: Bool { isWeighted }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let size = Granularity.group(groupSize == 0 ? max(weight.columns, 1) : groupSize).groupSize(columns: weight.columns)
    let (minima, maxima) = try weight.ranges(groupSize: size, workers: workers)
    var state = State(
      upper: [Float](repeating: 4, count: minima.count), lower: [Float](repeating: 4, count: minima.count),
      down: [], up: [Float](repeating: 0, count: weight.rows * rank))
    var random = Random(seed: seed, stream: name)
    let bound = (3 / Double(max(weight.columns, 1))).squareRoot()
    state.down = (0..<(rank * weight.columns)).map { _ in Float((2 * random.uniform() - 1) * bound) }
    let grid = GroupGrid(
      rows: weight.rows, columns: weight.columns, groupSize: size, bits: bits, minima: minima, maxima: maxima)
    guard let inputs, weight.columns > 0 else { return try packed(weight, grid, state, workers) }
    let values = try weight.values.array(of: Float.self)
    let objective = try LayerObjective(inputs, rows: weight.rows, workers: workers)
    let activity = try inputs.diagonal().map { Float($0 / Double(max(inputs.samples, 1))) }
    let saliency =
      !isWeighted
      ? [Float](repeating: 1, count: values.count)
      : inputs.saliency ?? values.indices.map { activity[$0 % weight.columns] }
    var moments = Moments(state)
    var (best, least) = (state, Double.infinity)
    var lambda = Float(strength ?? 0)
    for iteration in 0...iterations {
      let (rounded, whole) = try forward(values, grid, state, workers)
      let missed = zip(whole, values).map { $0 - $1 }
      let (value, slope) = try objective(missed)
      if value < least { (best, least) = (state, value) }
      guard iteration < iterations else { break }
      var onRounded = slope
      var onWhole = slope
      let kept = countsAdapters ? missed : zip(rounded, values).map { $0 - $1 }
      if iteration == 0, strength == nil {
        let penalty = zip(saliency, kept).reduce(0.0) { $0 + Double($1.0) * Double($1.1) * Double($1.1) }
        lambda = penalty > 0 ? Float(value / penalty) : 0
      }
      if Double(iteration) < penaltyShare * Double(iterations) {
        for i in kept.indices {
          let part = 2 * lambda * saliency[i] * kept[i]
          onRounded[i] += part
          if countsAdapters { onWhole[i] += part }
        }
      }
      var gradient = grid.gradient(values, state, onRounded)
      (gradient.up, gradient.down) = try lowRankGradient(onWhole, state, weight, workers)
      moments.step(&state, gradient, rates)
    }
    return try packed(weight, grid, best, workers)
  }

  private func forward(
    _ values: [Float], _ grid: GroupGrid, _ state: State, _ workers: Workers
  ) throws(TemperError) -> (rounded: [Float], whole: [Float]) {
    let rounded = grid.rounded(values, state)
    guard rank > 0 else { return (rounded, rounded) }
    let whole = try Tensor(rounded, shape: [grid.rows, grid.columns])
    try MatrixProduct.run(
      try Tensor(state.up, shape: [grid.rows, rank]), try Tensor(state.down, shape: [rank, grid.columns]), into: whole,
      accumulate: true, workers: workers)
    return (rounded, try whole.array(of: Float.self))
  }

  /// Of U D: S Dᵀ and Uᵀ S.
  private func lowRankGradient(
    _ slope: [Float], _ state: State, _ weight: Weight, _ workers: Workers
  ) throws(TemperError) -> (up: [Float], down: [Float]) {
    guard rank > 0 else { return ([], []) }
    let slope = try Tensor(slope, shape: [weight.rows, weight.columns])
    let up = try Tensor(zeros: [weight.rows, rank])
    let down = try Tensor(zeros: [rank, weight.columns])
    try MatrixProduct.run(
      slope, try Tensor(state.down, shape: [rank, weight.columns]).permuted([1, 0]), into: up, workers: workers)
    try MatrixProduct.run(
      try Tensor(state.up, shape: [weight.rows, rank]).permuted([1, 0]), slope, into: down, workers: workers)
    return (try up.array(of: Float.self), try down.array(of: Float.self))
  }

  private func packed(
    _ weight: Weight, _ grid: GroupGrid, _ state: State, _ workers: Workers
  ) throws(TemperError) -> QuantizedMatrix {
    let cells = grid.cells(state)
    let shape: Shape = [weight.rows, PackedMatrix.groups(columns: weight.columns, groupSize: grid.groupSize)]
    let values = try weight.values.array(of: Float.self)
    let codes = values.indices.map { UInt8(cells[grid.cell($0)].code(values[$0])) }
    let matrix = try PackedMatrix(
      shape: weight.shape, grid: try Grid(.asymmetric, bits: bits), groupSize: grid.groupSize,
      scales: try Tensor(cells.map(\.step), shape: shape),
      zeros: try Tensor(cells.map { UInt8($0.zero) }, shape: shape),
      looseCodes: try Tensor(codes, shape: [weight.rows, weight.columns]), workers: workers)
    var around = Adjustment()
    if rank > 0, state.up.contains(where: { $0 != 0 }) {
      around.lowRank = (
        try Tensor(state.down, shape: [rank, weight.columns]), try Tensor(state.up, shape: [weight.rows, rank])
      )
    }
    return try QuantizedMatrix(matrix, around)
  }
}

extension SaliencyRegularized {
  /// What is learned; gradients too.
  struct State {
    /// g₁ and g₂, by group.
    var upper: [Float]
    var lower: [Float]
    var down: [Float]
    var up: [Float]
  }

  struct Moments {
    private var (upper, lower, down, up): (AdamState, AdamState, AdamState, AdamState)

    init(_ state: State) {
      (upper, lower) = (AdamState(count: state.upper.count), AdamState(count: state.lower.count))
      (down, up) = (AdamState(count: state.down.count), AdamState(count: state.up.count))
    }

    mutating func step(_ state: inout State, _ gradient: State, _ rates: (clipping: Float, adapters: Float)) {
      upper.step(&state.upper, gradient.upper, rate: rates.clipping)
      lower.step(&state.lower, gradient.lower, rate: rates.clipping)
      down.step(&state.down, gradient.down, rate: rates.adapters)
      up.step(&state.up, gradient.up, rate: rates.adapters)
    }
  }

  /// Groups whose ends are shares of their extremes.
  struct GroupGrid {
    let rows: Int
    let columns: Int
    let groupSize: Int
    let bits: Int
    let minima: [Float]
    let maxima: [Float]

    private var groups: Int { PackedMatrix.groups(columns: columns, groupSize: groupSize) }
    func cell(_ index: Int) -> Int { index / columns * groups + index % columns / groupSize }

    struct Cell {
      let step: Float
      let zero: Float
      let highest: Float
      let low: Float
      func code(_ value: Float) -> Float {
        min(max((value / step).rounded(.toNearestOrEven) + zero, 0), highest)
      }
    }

    func cells(_ state: State) -> [Cell] {
      let highest = Float((1 << bits) - 1)
      return minima.indices.map { place in
        // Zero stays among the levels, as in every grid with zero points.
        let high = max(maxima[place], 0) / (1 + exp(-state.upper[place]))
        let low = min(minima[place], 0) / (1 + exp(-state.lower[place]))
        let span = (high - low) / highest
        let step = span > 0 ? max(span, .leastNormalMagnitude) : 1
        let zero = min(max((-low / step).rounded(.toNearestOrEven), 0), highest)
        return Cell(step: step, zero: zero, highest: highest, low: low)
      }
    }

    func rounded(_ values: [Float], _ state: State) -> [Float] {
      let cells = cells(state)
      return values.indices.map { index in
        let cell = cells[cell(index)]
        return cell.step * (cell.code(values[index]) - cell.zero)
      }
    }

    /// Of the grid's ends, rounding passed straight through. Inside W_q = s round(W / s); below it is the lower end,
    /// above it the upper one.
    func gradient(_ values: [Float], _ state: State, _ slope: [Float]) -> State {
      let cells = cells(state)
      var result = State(
        upper: [Float](repeating: 0, count: cells.count), lower: [Float](repeating: 0, count: cells.count), down: [],
        up: [])
      for index in values.indices {
        let (place, cell) = (cell(index), cells[cell(index)])
        let exact = values[index] / cell.step
        let code = exact.rounded(.toNearestOrEven) + cell.zero
        if code < 0 {
          result.lower[place] += slope[index]
        } else if code > cell.highest {
          result.upper[place] += slope[index]
        } else {
          let onStep = slope[index] * (code - cell.zero - exact) / cell.highest
          result.upper[place] += onStep
          result.lower[place] -= onStep
        }
      }
      for place in cells.indices {
        let (a, b) = (1 / (1 + exp(-state.upper[place])), 1 / (1 + exp(-state.lower[place])))
        result.upper[place] *= max(maxima[place], 0) * a * (1 - a)
        result.lower[place] *= min(minima[place], 0) * b * (1 - b)
      }
      return result
    }
  }

  static let method = Method(
    "saliency_regularized_quantization", kind: .quantizer, area: "quant",
    summary: "Learns clipping and low-rank factors; a penalty keeps the weights in place that the loss depends on.",
    reference: Reference(
      title:
        "Enhancing Ultra-Low-Bit Quantization of Large Language Models Through Saliency-Aware Partial Retraining",
      arXiv: "2504.13932"),
    parameters: [
      .integer("bits", 2, in: 2...8, "Bits of a code."),
      .integer("rank", 16, in: 0...4096, "Of the factors beside the codes."),
      .integer("group", 64, in: 0...(1 << 30), "Weights of a row that share a scale; 0 for the whole row.").named(
        also: "group_size"),
      .real("lam", or: ["auto"], in: .nonNegative, "Of the penalty; auto makes it as large as the error at first.")
        .named(also: "lambda"),
      .choice("reg_target", ["before_adapters", "after_adapters"], "What the penalty holds to the weights."),
      .boolean("weighted", true, "Whether salient weights count more."),
      .real("weight_phase_share", 0.5, in: .unit, "Part of the iterations in which the penalty counts."),
      .integer("iterations", 400, in: 0...1_000_000, "Steps."),
      .real("lr_clipping", 0.05, in: .nonNegative, "Learning rate of the grids' ends."),
      .real("lr_adapters", 0.001, in: .nonNegative, "Learning rate of the factors."),
      .integer("seed", 0, in: 0...(.max), "Of the factors' start."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        SaliencyRegularized(
          bits: arguments.integer("bits"), rank: arguments.integer("rank"), groupSize: arguments.integer("group"),
          strength: arguments.optionalReal("lam"), countsAdapters: arguments.text("reg_target") == "after_adapters",
          isWeighted: arguments.boolean("weighted"), penaltyShare: arguments.real("weight_phase_share"),
          iterations: arguments.integer("iterations"),
          rates: (Float(arguments.real("lr_clipping")), Float(arguments.real("lr_adapters"))),
          seed: UInt64(arguments.integer("seed")))
      }))
}
