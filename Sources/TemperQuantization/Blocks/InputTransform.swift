import TemperCore
import TemperGraph

/// A small network from inputs to inputs of the same shape: x + U(x), U two convolutions of 3 × 3 over images and two
/// matrices over rows, relu between. U's last part begins at 0, so that it begins as the identity.
struct InputTransform {
  private static let hidden = 16
  let sample: Shape
  private(set) var parameters: [[Float]]
  private var adam: [AdamState]
  private let shapes: [Shape]

  init(_ sample: Shape, seed: UInt64) throws(TemperError) {
    let hidden = InputTransform.hidden
    switch sample.rank {
    case 1: shapes = [[4 * hidden, sample[0]], [1, 4 * hidden], [sample[0], 4 * hidden], [1, sample[0]]]
    case 3:
      shapes = [[hidden, sample[0], 3, 3], [1, hidden, 1, 1], [sample[0], hidden, 3, 3], [1, sample[0], 1, 1]]
    default:
      throw TemperError(.unsupported, "It changes images (channels, height, width) or rows; samples are \(sample).")
    }
    self.sample = sample
    var random = Random(seed: seed, stream: "transform")
    let bound = 1 / Double(shapes[0].count / shapes[0][0]).squareRoot()
    parameters = shapes.map { [Float](repeating: 0, count: $0.count) }
    parameters[0] = parameters[0].map { _ in Float(bound * (2 * random.uniform() - 1)) }
    adam = parameters.map { AdamState(count: $0.count) }
  }

  /// Whether it changes nothing.
  var isIdentity: Bool { (parameters[2] + parameters[3]).allSatisfy { $0 == 0 } }

  var symbols: [Expression] { shapes.enumerated().map { .input("transform\($0)", $1) } }

  func tensors(_ type: DType) throws(TemperError) -> [String: Tensor] {
    var found: [String: Tensor] = [:]
    for (place, shape) in shapes.enumerated() {
      found["transform\(place)"] = try Tensor(parameters[place], shape: shape).copy(as: type)
    }
    return found
  }

  func callAsFunction(_ x: Expression, _ p: [Expression]) -> Expression {
    if sample.rank == 1 {
      let inner = relu(.matmul(x, p[0], transposeB: true) + p[1])
      return x + .matmul(inner, p[2], transposeB: true) + p[3]
    }
    let same = Convolution(padding: [1, 1])
    return x + relu(x.convolved(with: p[0], same) + p[1]).convolved(with: p[2], same) + p[3]
  }

  /// A step of Adam, each gradient's size at most `clip`.
  mutating func step(_ gradients: [[Float]], rate: Double, clip: Float) {
    let size = gradients.reduce(Float(0)) { $0 + $1.reduce(0) { $0 + $1 * $1 } }.squareRoot()
    let scale = size > clip ? clip / size : 1
    for place in parameters.indices {
      adam[place].step(&parameters[place], gradients[place].map { $0 * scale }, rate: Float(rate))
    }
  }
}
