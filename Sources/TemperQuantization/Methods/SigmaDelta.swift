import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// Features in [−1, 1] as few levels whose errors cancel over neighbours (noise shaping).
///
/// Order r, levels s {±1, ±3, …, ±(2K − 1)}, s = 1 / (2K − 2^r + 1): w_i = z_i + Σ_{j=1…r} (−1)^(j−1) C(r, j) u_{i−j}, q_i the
/// nearest level, u_i = w_i − q_i; |u| ≤ s where 2K ≥ 2^r. Order 2 with one bit: L = ⌈(3 − μ) / (1 − μ)⌉,
/// w_i = μ z_i + L/(L−1) v_{i−1} − 1/(L−1) v_{i−L}, q_i = sign(w_i), v_i = w_i − q_i; then |v| ≤ 1. "beta": blocks of t
/// features, w_i = z_i + β u_{i−1}, s = 1 / (2K − β).
package struct SigmaDelta: Quantizer {
  package var name: String { "sigma_delta_rff" }
  let shaping: NoiseShaping

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    _ = try weight.ranges(groupSize: max(weight.columns, 1), workers: workers)
    let values = try weight.values.array(of: Float.self)
    if let bad = values.first(where: { abs($0) > 1 + 1e-6 }) {
      throw TemperError(.outOfRange, "Features lie in [-1, 1]; \(bad) came.")
    }
    let levels = shaping.levels
    // A table has a power of two of levels: the last is there several times.
    let size = 1 << (Int.bitWidth - max(levels.count - 1, 1).leadingZeroBitCount)
    let padded = levels + [Double](repeating: levels[levels.count - 1], count: size - levels.count)
    let table = try Codebook(learned: padded.map { Float($0) })
    var codes: [UInt8] = []
    for row in 0..<weight.rows {
      let features = values[(row * weight.columns)..<((row + 1) * weight.columns)].map { min(max(Double($0), -1), 1) }
      codes += shaping.codes(features).map { UInt8($0) }
    }
    let groups = weight.columns > 0 ? 1 : 0
    return try QuantizedMatrix(
      PackedMatrix(
        shape: weight.shape, grid: Grid(table), groupSize: max(weight.columns, 1),
        scales: try Tensor([Float](repeating: 1, count: groups), shape: [1, groups]), zeros: nil,
        looseCodes: try Tensor(codes, shape: [weight.rows, weight.columns]), workers: workers))
  }
}

/// One scheme of noise shaping.
struct NoiseShaping: Sendable {
  enum Scheme: Sendable {
    case order(Int)
    case oneBitSecondOrder(mu: Double)
    case beta(Double, block: Int)
  }

  let scheme: Scheme
  /// Half the number of levels.
  let half: Int

  init(_ arguments: Arguments) throws(TemperError) {
    let (r, k, beta) = (arguments.integer("r"), arguments.integer("K"), arguments.real("beta"))
    half = k
    if arguments.text("scheme") == "beta" {
      guard beta > 1, beta < Double(2 * k) else {
        throw TemperError(.outOfRange, "beta lies between 1 and 2 K = \(2 * k); \(beta) came.")
      }
      scheme = .beta(beta, block: arguments.integer("t"))
    } else if r == 2, k == 1 {
      scheme = .oneBitSecondOrder(mu: arguments.real("mu_onebit_r2"))
    } else {
      guard 2 * k >= 1 << r else {
        throw TemperError(.outOfRange, "Order \(r) needs 2 K of at least \(1 << r); K is \(k).")
      }
      scheme = .order(r)
    }
  }

  /// s.
  var step: Double {
    switch scheme {
    case .order(let r): 1 / Double(2 * half - (1 << r) + 1)
    case .oneBitSecondOrder: 1
    case .beta(let beta, _): 1 / (Double(2 * half) - beta)
    }
  }

  /// By how much the features are scaled before.
  var gain: Double { if case .oneBitSecondOrder(let mu) = scheme { mu } else { 1 } }

  var levels: [Double] { (0..<(2 * half)).map { step * Double(2 * $0 - 2 * half + 1) } }

  /// The index of each feature's level.
  func codes(_ z: [Double]) -> [Int] { run(z).map(\.code) }

  /// With the state u (or v) after each.
  func run(_ z: [Double]) -> [(code: Int, state: Double)] {
    var states: [Double] = []
    states.reserveCapacity(z.count)
    return z.indices.map { i in
      func before(_ j: Int) -> Double { i >= j ? states[i - j] : 0 }
      var w = z[i]
      switch scheme {
      case .order(let r):
        var binomial = 1.0
        for j in 1...r {
          binomial = binomial * Double(r - j + 1) / Double(j)
          w += (j % 2 == 1 ? binomial : -binomial) * before(j)
        }
      case .oneBitSecondOrder(let mu):
        let lag = Int(((3 - mu) / (1 - mu) - 1e-12).rounded(.up))
        w = mu * z[i] + Double(lag) / Double(lag - 1) * before(1) - before(lag) / Double(lag - 1)
      case .beta(let beta, let block): if i % block > 0 { w += beta * before(1) }
      }
      let place = ((w / step + Double(2 * half - 1)) / 2).rounded(.toNearestOrAwayFromZero)
      let code = Int(min(max(place, 0), Double(2 * half - 1)))
      states.append(w - step * Double(2 * code - 2 * half + 1))
      return (code, states[i])
    }
  }

  /// v, by which each block of shaped features is summed.
  func weights(_ t: Int) -> [Double] {
    switch scheme {
    case .beta(let beta, let block): return (1...block).map { pow(beta, -Double($0)) }
    case .order(let r): return NoiseShaping.power(t, r)
    case .oneBitSecondOrder: return NoiseShaping.power(t, 2)
    }
  }

  /// The coefficients of (1 + x + … + x^(t−1))^r.
  private static func power(_ t: Int, _ r: Int) -> [Double] {
    var result = [1.0]
    for _ in 0..<r {
      var next = [Double](repeating: 0, count: result.count + t - 1)
      for (i, value) in result.enumerated() { for j in 0..<t { next[i + j] += value } }
      result = next
    }
    return result
  }
}

extension SigmaDelta {
  private static let reference = Reference(
    "Zhang, Cullina, Chou, Saab", 2021,
    "Sigma-Delta and Distributed Noise-Shaping Quantization Methods for Random Fourier Features", arXiv: "2106.02614")
  private static let parameters: [Parameter] = [
    .choice("scheme", ["sigma_delta", "beta"], "Errors carried on, or within blocks by a factor."),
    .integer("r", 1, in: 1...8, "Order of the shaping."), .integer("K", 1, in: 1...128, "Half the number of levels."),
    .integer("t", 8, in: 1...4096, "Length of the sums that condense; blocks have r t - r + 1 features, or t of beta."),
    .real("beta", 1.5, in: Interval(1, 256, includesLower: false), "The factor of the beta scheme."),
    .real(
      "mu_onebit_r2", 0.5, in: Interval(0, 1, includesLower: false, includesUpper: false),
      "What features are scaled by for one bit and order 2."),
  ]

  static let method = Method(
    "sigma_delta_rff", kind: .quantizer, area: "quant",
    summary: "Random Fourier features, a row for each sample, in one or few bits whose errors cancel over neighbours.",
    reference: reference, parameters: parameters,
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in SigmaDelta(shaping: try NoiseShaping(arguments)) }))

  /// sqrt(2 / p) / (mu |v|) times the dot products of v with p blocks of features.
  package static let condensation = Method(
    "sigma_delta_rff_condense", kind: .metric, area: "quant",
    summary: "Sums blocks of shaped features, so that products of the results come near the kernel.",
    reference: reference, parameters: parameters,
    inputs: [Input("x", [.init(["N", "M"])], "Shaped features, a row for each sample.")],
    implementation: .operation { (x) throws(TemperError) in
      let shaping = try NoiseShaping(x.arguments)
      let weights = shaping.weights(x.integer("t"))
      let (rows, features) = (x["x"].shape[0], x["x"].shape[1])
      guard features >= weights.count else {
        return .invalid(.invalidShape, "Blocks have \(weights.count) features; \(features) came.")
      }
      // Features that fill no block are left out.
      let blocks = features / weights.count
      let size = weights.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let scale = (2 / Double(blocks)).squareRoot() / (shaping.gain * size)
      let parts = x["x"].slice(0..<(blocks * weights.count), axis: 1).reshaped([rows * blocks, weights.count])
      let v = Expression.concatenate(weights.map { Expression.constant($0 * scale).reshaped([1]) })
      return (parts * v.reshaped([1, weights.count])).sum().reshaped([rows, blocks])
    })
}
