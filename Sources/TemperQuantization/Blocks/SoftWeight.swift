import Glibc
import TemperCore
import TemperGraph
import TemperNetworks

/// A weight, and the inputs that it is multiplied with, while it is learned how they are rounded: a soft choice between
/// up and down for each weight, and step sizes.
///
/// Ŵ = s (clip(⌊W / s⌋ + z + h, 0, 2^b − 1) − z), h = clip(1.2 σ(v) − 0.1, 0, 1), with s and z of each output;
/// x̂ = a (clip(round(x / a) + z_x, 0, 2^b_x − 1) − z_x), rounding passed straight through.
struct SoftWeight {
  let variable: Variable
  let weight: Weight
  let bits: Int
  let inputBits: Int?
  let zeros: [Float]
  let inputZero: Int
  /// s, by row.
  var steps: [Float]
  /// v, row-major.
  var rounding: [Float]
  /// a.
  var inputStep: [Float]

  /// What stands for the numbers of a weight in a graph.
  struct Symbols {
    let values: Expression
    let zeros: Expression
    var steps: Expression
    var rounding: Expression
    var inputStep: Expression

    /// What is learned, in the order of `SoftWeight.learned`.
    var learned: [Expression] {
      get { [rounding, steps, inputStep] }
      set { (rounding, steps, inputStep) = (newValue[0], newValue[1], newValue[2]) }
    }
  }

  /// Steps that miss least: of the weights by output, of the inputs over those kept.
  init(
    _ variable: Variable, _ weight: Weight, bits: Int, inputBits: Int?, inputs: InputStatistics?, workers: Workers
  ) throws(TemperError) {
    (self.variable, self.weight, self.bits) = (variable, weight, bits)
    let grid = try Grid(.asymmetric, bits: bits)
    let covers = try weight.covers(grid, .channel, .leastSquares, workers: workers)
    let steps = try covers.scales.array(of: Float.self)
    self.steps = steps
    zeros = try covers.zeros?.array(of: UInt8.self).map(Float.init) ?? []
    let columns = max(weight.columns, 1)
    rounding = try weight.values.array(of: Float.self).enumerated().map { index, value in
      let place = value / steps[index / columns]
      let share = min(max((place - place.rounded(.down) + 0.1) / 1.2, 0.01), 0.99)
      return -log(1 / share - 1)
    }
    let found = try inputBits.flatMap { bits throws(TemperError) in
      try inputs.map { inputs throws(TemperError) in try SoftWeight.inputGrid(inputs.kept, bits: bits) }
    }
    self.inputBits = found == nil ? nil : inputBits
    (inputZero, inputStep) = (Int(found?.zero ?? 0), [found?.step ?? 1])
  }

  /// The grid of least squared error among those that cover 1/20, 2/20, … of the range.
  private static func inputGrid(_ values: [Float], bits: Int) throws(TemperError) -> InputGrid {
    let (low, high) = (Double(values.min() ?? 0), Double(values.max() ?? 0))
    let every = max(values.count / 4096, 1)
    var best: (grid: InputGrid, miss: Double)?
    for part in 1...20 {
      let grid = try InputGrid(bits: bits, low * Double(part) / 20, high * Double(part) / 20)
      let miss = stride(from: 0, to: values.count, by: every).reduce(0.0) { sum, index in
        let missed = Double(grid.rounded(values[index]) - values[index])
        return sum + missed * missed
      }
      if best == nil || miss < best!.miss { best = (grid, miss) }
    }
    guard let best else { throw TemperError(.internalFault, "No grid for inputs was tried.") }
    return best.grid
  }

  var learned: [[Float]] {
    get { [rounding, steps, inputStep] }
    set { (rounding, steps, inputStep) = (newValue[0], newValue[1], newValue[2]) }
  }

  func symbols(_ name: String) -> Symbols {
    let (rows, columns) = (weight.rows, weight.columns)
    return Symbols(
      values: .input(name + ".values", [rows, columns]), zeros: .input(name + ".zeros", [rows, 1]),
      steps: .input(name + ".steps", [rows, 1]), rounding: .input(name + ".rounding", [rows, columns]),
      inputStep: .input(name + ".input", []))
  }

  /// Values of the inputs that `symbols` names.
  func tensors(_ name: String, _ type: DType) throws(TemperError) -> [String: Tensor] {
    let (rows, columns) = (weight.rows, weight.columns)
    return [
      name + ".values": try weight.values.copy(as: type),
      name + ".zeros": try Tensor(zeros, shape: [rows, 1]).copy(as: type),
      name + ".steps": try Tensor(steps, shape: [rows, 1]).copy(as: type),
      name + ".rounding": try Tensor(rounding, shape: [rows, columns]).copy(as: type),
      name + ".input": try Tensor(inputStep, shape: []).copy(as: type),
    ]
  }

  static func upness(_ rounding: Expression) -> Expression { clamp(1.2 * sigmoid(rounding) - 0.1, 0, 1) }

  /// Σ (1 − |2h − 1|^β): 0 where every weight has a side.
  static func indecision(_ rounding: Expression, _ beta: Expression) -> Expression {
    (1 - pow(abs(2 * upness(rounding) - 1), beta)).sumAll().reshaped([])
  }

  /// Ŵ, of the weight's shape.
  func rounded(_ symbols: Symbols) -> Expression {
    let below = floor(symbols.values / symbols.steps).stopGradient
    let codes = clamp(below + symbols.zeros + SoftWeight.upness(symbols.rounding), 0, Double((1 << bits) - 1))
    return ((codes - symbols.zeros) * symbols.steps).reshaped(weight.shape)
  }

  /// x̂; with `draws` each value stays as it is where its draw is below the share `drop`.
  func roundedInput(_ x: Expression, _ symbols: Symbols, draws: Expression?, drop: Double) -> Expression {
    guard let inputBits else { return x }
    let place = x / symbols.inputStep
    let code = clamp(
      place + (round(place) - place).stopGradient + Double(inputZero), 0, Double((1 << inputBits) - 1))
    let rounded = (code - Double(inputZero)) * symbols.inputStep
    return draws.map { Expression.select($0 .< drop, x, rounded) } ?? rounded
  }

  /// Each weight on its side.
  func packed(workers: Workers) throws(TemperError) -> QuantizedMatrix {
    let (values, columns) = (try weight.values.array(of: Float.self), max(weight.columns, 1))
    let highest = Float((1 << bits) - 1)
    let codes = values.indices.map { index -> UInt8 in
      let row = index / columns
      let side: Float = rounding[index] >= 0 ? 1 : 0
      return UInt8(min(max((values[index] / steps[row]).rounded(.down) + zeros[row] + side, 0), highest))
    }
    let matrix = try PackedMatrix(
      shape: weight.shape, grid: try Grid(.asymmetric, bits: bits), groupSize: columns,
      scales: try Tensor(steps, shape: [weight.rows, 1]),
      zeros: try Tensor(zeros.map { UInt8($0) }, shape: [weight.rows, 1]),
      looseCodes: try Tensor(codes, shape: [weight.rows, weight.columns]), workers: workers)
    var around = Adjustment()
    if let inputBits { around.inputGrid = try InputGrid(bits: inputBits, step: inputStep[0], zero: inputZero) }
    return try QuantizedMatrix(matrix, around)
  }
}
