import Glibc
import TemperCatalogue
import TemperCore

/// How the elements of a parameter start. `fanIn` and `fanOut` count the connections of one output and one input.
package enum Initializer: Hashable, Sendable {
  case zeros, ones
  case constant(Double)
  /// These, row by row.
  case values([Double])
  /// U(low, high)
  case uniform(low: Double, high: Double)
  /// N(mean, std^2)
  case normal(mean: Double, std: Double)
  /// U(-b, b), b = gain sqrt(6 / (fanIn + fanOut)). Glorot and Bengio, 2010.
  case glorotUniform(gain: Double)
  /// N(0, gain^2 2 / (fanIn + fanOut)). Glorot and Bengio, 2010.
  case glorotNormal(gain: Double)
  /// U(-b, b), b = gain sqrt(3 / fanIn), gain sqrt(2) for relu. He et al., 2015 (arXiv 1502.01852).
  case heUniform(gain: Double)
  /// N(0, gain^2 / fanIn). He et al., 2015 (arXiv 1502.01852).
  case heNormal(gain: Double)
  /// U(-b, b), b = sqrt(3 / fanIn). LeCun et al., 1998.
  case lecunUniform
  /// N(0, 1 / fanIn). LeCun et al., 1998.
  case lecunNormal
  /// U(-b, b), b = 1 / sqrt(fanIn): what PyTorch gives weights and biases of linear and convolutional layers.
  case fanInUniform
  /// Rows (or columns, whichever are fewer) orthonormal, times gain. Saxe et al., 2013 (arXiv 1312.6120).
  case orthogonal(gain: Double)

  private static let gain = Parameter.real("gain", 1, "Factor on the standard deviation.")
  private static let reluGain = Parameter.real("gain", 2.0.squareRoot(), "Factor on the standard deviation.")

  private static let table: [(name: String, parameters: [Parameter], make: @Sendable (Arguments) -> Initializer)] = [
    ("fan_in_uniform", [], { _ in .fanInUniform }),
    ("glorot_uniform", [gain], { .glorotUniform(gain: $0.real("gain")) }),
    ("glorot_normal", [gain], { .glorotNormal(gain: $0.real("gain")) }),
    ("he_uniform", [reluGain], { .heUniform(gain: $0.real("gain")) }),
    ("he_normal", [reluGain], { .heNormal(gain: $0.real("gain")) }),
    ("lecun_uniform", [], { _ in .lecunUniform }),
    ("lecun_normal", [], { _ in .lecunNormal }),
    ("orthogonal", [gain], { .orthogonal(gain: $0.real("gain")) }),
    (
      "uniform", [.real("low", -0.05, "Lower end."), .real("high", 0.05, "Upper end.")],
      { .uniform(low: $0.real("low"), high: $0.real("high")) }
    ),
    (
      "normal", [.real("std", 0.05, in: .nonNegative, "Standard deviation."), .real("mean", 0, "Mean.")],
      { .normal(mean: $0.real("mean"), std: $0.real("std")) }
    ),
    ("constant", [.real("value", 0, "Of every element.")], { .constant($0.real("value")) }),
    ("zeros", [], { _ in .zeros }),
    ("ones", [], { _ in .ones }),
  ]

  package static var names: [String] { table.map(\.name) }

  /// By name with options, as descriptions write it: "he_normal", {"normal": 0.02}, {"uniform": {"low": 0, "high": 1}}.
  package init(_ name: String, setting: JSON = .null) throws(TemperError) {
    guard let entry = Initializer.table.first(where: { $0.name == name }) else {
      throw TemperError(
        .unknownName,
        "There is no initializer \"\(name)\"; there are: \(Initializer.names.joined(separator: ", ")).")
    }
    do throws(TemperError) {
      let options = try LayerOptions(
        setting, declared: entry.parameters.map { LayerOption($0) }, main: entry.parameters.first?.name)
      self = entry.make(options.arguments)
    } catch {
      throw error.from("initializer \(name)")
    }
  }

  /// Fills a dense array. Elements are drawn in float64 and row by row, whatever its type.
  package func fill(_ tensor: Tensor, fanIn: Int, fanOut: Int, random: Random) throws(TemperError) {
    var random = random
    if case .values(let values) = self { return try tensor.assign(from: try Tensor(values, shape: tensor.shape)) }
    let flat = try tensor.reshaped([tensor.count])
    if case .orthogonal(let gain) = self {
      let rows = tensor.shape.sizes.first ?? 1
      let values = Initializer.orthogonal(
        rows: rows, columns: rows > 0 ? tensor.count / rows : 0, gain: gain, &random)
      return try flat.assign(from: try Tensor(values))
    }
    // An even number at a time: a large array needs no second one of its size, and normals come in pairs.
    for start in stride(from: 0, to: flat.count, by: 1 << 16) {
      let range = start..<min(start + 1 << 16, flat.count)
      try flat.slice(range).assign(from: try Tensor(values(range.count, fanIn, fanOut, &random)))
    }
  }

  /// The next elements of those that go element by element.
  private func values(_ count: Int, _ fanIn: Int, _ fanOut: Int, _ random: inout Random) -> [Double] {
    let (fanIn, fanOut) = (Double(max(fanIn, 1)), Double(max(fanOut, 1)))
    func symmetric(_ bound: Double) -> [Double] { random.uniforms(count, -bound, bound) }
    func centred(_ std: Double) -> [Double] { random.normals(count, mean: 0, std: std) }
    return switch self {
    case .zeros, .orthogonal, .values: [Double](repeating: 0, count: count)
    case .ones: [Double](repeating: 1, count: count)
    case .constant(let value): [Double](repeating: value, count: count)
    case .uniform(let low, let high): random.uniforms(count, low, high)
    case .normal(let mean, let std): random.normals(count, mean: mean, std: std)
    case .glorotUniform(let gain): symmetric(gain * (6 / (fanIn + fanOut)).squareRoot())
    case .glorotNormal(let gain): centred(gain * (2 / (fanIn + fanOut)).squareRoot())
    case .heUniform(let gain): symmetric(gain * (3 / fanIn).squareRoot())
    case .heNormal(let gain): centred(gain / fanIn.squareRoot())
    case .lecunUniform: symmetric((3 / fanIn).squareRoot())
    case .lecunNormal: centred(1 / fanIn.squareRoot())
    case .fanInUniform: symmetric(1 / fanIn.squareRoot())
    }
  }

  /// The shorter side orthonormal by Gram and Schmidt over Gaussian vectors, each projected twice: once loses
  /// orthogonality when vectors nearly coincide.
  private static func orthogonal(rows: Int, columns: Int, gain: Double, _ random: inout Random) -> [Double] {
    let (vectors, length) = (min(rows, columns), max(rows, columns))
    var basis: [[Double]] = []
    while basis.count < vectors {
      var vector = random.normals(length, mean: 0, std: 1)
      for _ in 0..<2 {
        for other in basis {
          var overlap = 0.0
          for i in 0..<length { overlap += vector[i] * other[i] }
          for i in 0..<length { vector[i] -= overlap * other[i] }
        }
      }
      let norm = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
      // A Gaussian vector inside the span so far has probability 0; rounding may come near it: draw again.
      if norm > 1e-6 { basis.append(vector.map { $0 / norm }) }
    }
    var values = [Double](repeating: 0, count: rows * columns)
    for row in 0..<rows {
      for column in 0..<columns {
        values[row * columns + column] = gain * (rows <= columns ? basis[row][column] : basis[column][row])
      }
    }
    return values
  }
}

extension Random {
  mutating func uniforms(_ count: Int, _ low: Double, _ high: Double) -> [Double] {
    var values = [Double](repeating: 0, count: count)
    for i in 0..<count { values[i] = low + (high - low) * uniform() }
    return values
  }

  /// Box and Muller, 1958: two normals of two uniforms.
  mutating func normals(_ count: Int, mean: Double, std: Double) -> [Double] {
    var values = [Double](repeating: 0, count: count)
    for i in stride(from: 0, to: count, by: 2) {
      let radius = (-2 * log(1 - uniform())).squareRoot()
      let angle = 2 * Double.pi * uniform()
      values[i] = mean + std * radius * cos(angle)
      if i + 1 < count { values[i + 1] = mean + std * radius * sin(angle) }
    }
    return values
  }
}
