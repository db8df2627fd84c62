import Glibc
import TemperGraph

/// What every operation on numbers means, in float64.
extension ReferenceInterpreter {
  static func reduce(_ reduction: Reduction, _ values: [Double]) -> Double {
    switch reduction {
    case .sum: values.reduce(0, +)
    case .product: values.reduce(1, *)
    case .maximum: values.contains { $0.isNaN } ? .nan : values.max()!
    case .minimum: values.contains { $0.isNaN } ? .nan : values.min()!
    }
  }

  static func unary(_ operation: Unary, _ x: Double) -> Double {
    switch operation {
    case .negate: -x
    case .abs: Swift.abs(x)
    case .sign: x > 0 ? 1 : x < 0 ? -1 : x
    case .square: x * x
    case .sqrt: x.squareRoot()
    case .reciprocal: 1 / x
    case .exp: Glibc.exp(x)
    case .expm1: Glibc.expm1(x)
    case .log: Glibc.log(x)
    case .log1p: Glibc.log1p(x)
    case .tanh: Glibc.tanh(x)
    case .sigmoid: x < 0 ? Glibc.exp(x) / (1 + Glibc.exp(x)) : 1 / (1 + Glibc.exp(-x))
    case .softplus: max(x, 0) + Glibc.log1p(Glibc.exp(-Swift.abs(x)))
    case .erf: Glibc.erf(x)
    case .sin: Glibc.sin(x)
    case .cos: Glibc.cos(x)
    case .floor: x.rounded(.down)
    case .ceil: x.rounded(.up)
    case .round: x.rounded(.toNearestOrEven)
    case .not: x == 0 ? 1 : 0
    case .isFinite: x.isFinite ? 1 : 0
    case .logGamma: Glibc.lgamma(x)
    case .digamma: digamma(x)
    case .atan: Glibc.atan(x)
    case .inverseErf: inverseErf(x)
    case .normalCDF: 0.5 * Glibc.erfc(-x / 2.0.squareRoot())
    }
  }

  static func binary(_ operation: Binary, _ a: Double, _ b: Double) -> Double {
    switch operation {
    case .add: a + b
    case .subtract: a - b
    case .multiply: a * b
    case .divide: a / b
    case .power: Glibc.pow(a, b)
    case .maximum: a.isNaN ? a : b.isNaN ? b : max(a, b)
    case .minimum: a.isNaN ? a : b.isNaN ? b : min(a, b)
    case .remainder: a - (a / b).rounded(.down) * b
    case .equal: a == b ? 1 : 0
    case .notEqual: a != b ? 1 : 0
    case .less: a < b ? 1 : 0
    case .lessEqual: a <= b ? 1 : 0
    case .and: a != 0 && b != 0 ? 1 : 0
    case .or: a != 0 || b != 0 ? 1 : 0
    }
  }

  /// Recurrence to 20, then the asymptotic series.
  private static func digamma(_ x: Double) -> Double {
    var (z, sum) = (x, 0.0)
    while z < 20 {
      sum -= 1 / z
      z += 1
    }
    let r = 1 / (z * z)
    return sum + Glibc.log(z) - 0.5 / z - r * (1.0 / 12 - r * (1.0 / 120 - r / 252))
  }

  /// Newton's method on erf.
  private static func inverseErf(_ y: Double) -> Double {
    if Swift.abs(y) >= 1 { return y == 1 ? .infinity : y == -1 ? -.infinity : .nan }
    let logarithm = Glibc.log1p(-y * y)
    let start = 2 / (.pi * 0.147) + logarithm / 2
    var x = (((start * start - logarithm / 0.147).squareRoot() - start).squareRoot()) * (y < 0 ? -1 : 1)
    for _ in 0..<4 { x -= (Glibc.erf(x) - y) * Double.pi.squareRoot() / 2 * Glibc.exp(x * x) }
    return x
  }
}
