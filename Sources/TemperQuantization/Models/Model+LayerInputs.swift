import Synchronization
import TemperCore
import TemperGraph
import TemperNetworks

extension Model {
  /// Samples that run through the model at a time.
  static let calibrationBatch = 128

  /// Adds what each of `variables` is multiplied with when the model sees `calibration` (N, …), a part at a time. Tables
  /// and grouped convolutions have no such inputs.
  package func observe(
    _ variables: [Variable], _ calibration: Tensor, into statistics: inout [String: InputStatistics], workers: Workers
  ) throws(TemperError) {
    try checkInput(calibration)
    guard calibration.shape[0] > 0 else {
      throw TemperError(.invalidShape, "Calibration needs at least one sample; \(calibration.shape) came.")
    }
    for start in stride(from: 0, to: calibration.shape[0], by: Model.calibrationBatch) {
      let x = try prepared(
        try calibration.slice(start..<min(start + Model.calibrationBatch, calibration.shape[0])))
      for (variable, seen) in try run(x, recording: variables, workers: workers) {
        guard let rows = try variable.factors(seen) else { continue }
        if statistics[variable.name] == nil {
          statistics[variable.name] = try InputStatistics(columns: rows.shape.last)
        }
        try statistics[variable.name]?.add(rows, workers: workers)
      }
    }
  }

  /// What comes to each product with one of `variables`, more than once where the model uses it so.
  private func run(
    _ x: Tensor, recording variables: [Variable], workers: Workers
  ) throws(TemperError) -> [(variable: Variable, x: Tensor)] {
    let recorder = Recorder()
    let kept = replacements
    defer { replacements = kept }
    for variable in variables { replacements[variable.name] = recorder.replacement(of: variable) }
    let y = forward(.input("x", x.shape, input.kind), pass(.inference, mask: mask(of: x)))
    if let error = y.error { throw error }
    let seen = recorder.seen
    guard !seen.isEmpty else { return [] }
    let execution = try evaluate(seen.map(\.x), x, workers: workers)
    return seen.indices.map { (seen[$0].variable, execution.output($0)) }
  }

  /// The input for the positions of x that count, if the model has positions.
  func mask(of x: Tensor) -> Expression? { needsMask ? .input("mask", [x.shape[0], input.shape[0]]) : nil }

  /// Expressions over the model's weights and its input "x", where every position counts.
  func evaluate(_ outputs: [Expression], _ x: Tensor, workers: Workers) throws(TemperError) -> Execution {
    let execution = try Execution(try Plan(outputs.map { Output($0) }, type: dtype), workers: workers)
    try bind(to: execution)
    for (name, shape, _) in execution.plan.inputs {
      if name == "x" { try execution.bind("x", to: x) }
      if name == "mask" {
        let ones = try Tensor(zeros: shape, dtype)
        try ones.fill(1)
        try execution.bind("mask", to: ones)
      }
    }
    try execution.run()
    return execution
  }
}

/// Remembers what layers give to products, and computes these as the float model does.
private final class Recorder: Sendable {
  private let record = Mutex<[(variable: Variable, x: Expression)]>([])

  var seen: [(variable: Variable, x: Expression)] { record.withLock { $0 } }

  func replacement(of variable: Variable) -> Pass.Replacement {
    let weight = Expression.input(variable.name, variable.shape)
    return { x in
      self.record.withLock { $0.append((variable, x)) }
      return switch variable.use {
      case .convolution(let convolution): x.convolved(with: weight, convolution)
      case .table: weight.gatherRows(x)
      case .product, .elements: .matmul(x, weight, transposeB: true)
      }
    }
  }
}

extension Variable {
  /// The rows that the weight, as (rows, columns), is multiplied with when its layer sees x: nil where there are none.
  func factors(_ x: Tensor) throws(TemperError) -> Tensor? {
    switch use {
    case .product: return x
    case .convolution(let convolution):
      return convolution.groups == 1 ? try convolution.patches(of: x, window: Array(shape.sizes.suffix(2))) : nil
    case .table, .elements: return nil
    }
  }
}

extension Convolution {
  /// The patches of x (N, C, H, W) under each position of the window: (N · positions, C · height · width).
  func patches(of x: Tensor, window: [Int]) throws(TemperError) -> Tensor {
    let (channels, height, width) = (x.shape[1], x.shape[2], x.shape[3])
    let values = try x.array(of: Float.self)
    func positions(_ size: Int, _ axis: Int) -> Int {
      (size + 2 * padding[axis] - dilation[axis] * (window[axis] - 1) - 1) / stride[axis] + 1
    }
    let (rows, columns) = (positions(height, 0), positions(width, 1))
    var patches: [Float] = []
    patches.reserveCapacity(x.shape[0] * rows * columns * channels * window[0] * window[1])
    for image in 0..<x.shape[0] {
      for row in 0..<rows {
        for column in 0..<columns {
          for plane in (image * channels)..<(image * channels + channels) {
            for i in 0..<window[0] {
              let y = row * stride[0] - padding[0] + i * dilation[0]
              for j in 0..<window[1] {
                let x = column * stride[1] - padding[1] + j * dilation[1]
                let isInside = (0..<height).contains(y) && (0..<width).contains(x)
                patches.append(isInside ? values[(plane * height + y) * width + x] : 0)
              }
            }
          }
        }
      }
    }
    return try Tensor(patches, shape: [x.shape[0] * rows * columns, channels * window[0] * window[1]])
  }
}
